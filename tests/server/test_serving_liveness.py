"""Which peers are given up, when, and which are not."""

import asyncio
import queue
import socket
import struct
import threading
import time

import pytest
from running_server import BINARY, CLOSE, PING, PONG, WAIT_S, both_loops, direct, frame

QUICK = {"ping_interval_s": 0.1, "ping_timeout_s": 0.5}
# Two timeouts: who lives so long was not given up.
LONG_S = 1.0


@direct
async def echo(channel, receive):
    channel.start(channel.send, lambda: None)
    await receive()


def drip(client, pieces):
    """Send pieces slowly, for LONG_S in all."""
    for piece in pieces:
        client.sock.sendall(piece)
        threading.Event().wait(LONG_S / len(pieces))


def read_past_pings(client):
    opcode, payload = client.read()
    while opcode == PING:
        opcode, payload = client.read()
    return opcode, payload


@both_loops
def test_a_silent_peer_is_closed_with_1011_after_the_timeout(serving):
    with serving(echo, **QUICK).upgrade() as client:
        began_s = time.monotonic()
        assert client.read() == (PING, b"")

        assert client.read_close() == (1011, "keepalive ping timeout")

        assert 0.5 < time.monotonic() - began_s < 2
        assert client.sock.recv(1) == b""


@pytest.mark.parametrize(
    "pieces",
    [[frame(PONG)] * 8, [bytes([byte]) for byte in frame(BINARY, b"slowly")]],
    ids=["pongs", "bytes of a message"],
)
def test_whatever_a_peer_sends_is_a_sign_of_life(serving, pieces):
    with serving(echo, **QUICK).upgrade() as client:
        drip(client, pieces)

        client.send(BINARY, b"alive")
        opcode, payload = read_past_pings(client)
        if payload == b"slowly":
            opcode, payload = read_past_pings(client)
        assert (opcode, payload) == (BINARY, b"alive")


@both_loops
def test_a_peer_that_only_takes_is_alive(serving):
    @direct
    async def application(channel, receive):
        left = asyncio.ensure_future(receive())

        def pump():
            for _ in range(1000):
                if not channel.send(bytes(65536)):
                    return
            if not left.done():
                asyncio.get_running_loop().call_soon(pump)

        channel.start(lambda message: channel.send("alive"), pump)
        pump()
        await left

    with serving(application, **QUICK).upgrade() as client:
        ends_at_s = time.monotonic() + LONG_S
        while time.monotonic() < ends_at_s:
            assert read_past_pings(client) == (BINARY, bytes(65536))
            threading.Event().wait(0.005)

        client.send(BINARY, b"?")
        while (message := read_past_pings(client)) == (BINARY, bytes(65536)):
            pass
        assert message == (1, b"alive")


def test_a_peer_that_takes_nothing_and_says_nothing_is_given_up(serving):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        while channel.send(bytes(65536)):
            pass
        seen.put(await receive())

    with serving(application, **QUICK).upgrade():
        assert seen.get(timeout=WAIT_S)["code"] == 1011


@both_loops
def test_nobody_is_given_up_while_the_application_does_not_listen(serving):
    channels = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(channel.send, lambda: None)
        channel.pause()
        channels.put(channel)
        await receive()

    server = serving(application, **QUICK)
    with server.upgrade() as client:
        channel = channels.get(timeout=WAIT_S)
        client.send(BINARY, b"unread")
        threading.Event().wait(LONG_S)

        server.loop.call_soon_threadsafe(channel.resume)

        assert read_past_pings(client) == (BINARY, b"unread")


@both_loops
def test_a_busy_asgi_application_does_not_cost_a_healthy_peer_its_connection(serving):
    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await asyncio.sleep(LONG_S)
        for _ in range(3):
            await send({"type": "websocket.send", "bytes": (await receive())["bytes"]})

    with serving(application, **QUICK).upgrade() as client:
        for number in b"123":
            client.send(BINARY, bytes([number]))

        assert [read_past_pings(client) for _ in range(3)] == [(BINARY, b"1"), (BINARY, b"2"), (BINARY, b"3")]


@both_loops
def test_a_peer_that_left_with_much_to_say_is_noticed_by_the_next_ping(serving):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        channel.pause()
        seen.put("paused")
        seen.put(await receive())

    with serving(application, ping_interval_s=0.1).upgrade() as client:
        assert seen.get(timeout=WAIT_S) == "paused"
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            # More than all buffers hold: the end of the stream stays behind it, in the client's kernel.
            client.sock.sendall(bytes(2**25))

    assert seen.get(timeout=WAIT_S)["code"] == 1006


@pytest.mark.parametrize("leave", ["close", "reset", "half-close"])
def test_the_end_of_a_connection_is_noticed_while_nothing_is_read(serving, leave):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        channel.pause()
        seen.put("paused")
        seen.put(await receive())

    with serving(application).upgrade(early=frame(BINARY, b"unread")) as client:
        assert seen.get(timeout=WAIT_S) == "paused"
        client.send(CLOSE)
        if leave == "reset":
            client.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if leave == "half-close":
            client.sock.shutdown(socket.SHUT_WR)
        else:
            client.sock.close()
        began_s = time.monotonic()

        assert seen.get(timeout=WAIT_S)["code"] == 1006
        assert time.monotonic() - began_s < 2
