"""Frames that nobody should send: each limit has its own close code, and none costs memory or the loop's time."""

import asyncio
import contextlib
import gc
import queue
import time
import zlib

import pytest
from echoes import direct_echo, plain_echo
from running_server import BINARY, CLOSE, CONT, PING, PONG, TEXT, WAIT_S, both_loops, direct, frame

from ws_subprocess.server.websocket import WebSocketConnection


def test_compression_is_off_by_default(serving):
    with serving(plain_echo).client() as client:
        assert "Sec-WebSocket-Extensions" not in client.response.headers


@pytest.mark.parametrize("application", [plain_echo, direct_echo])
def test_compression_can_be_turned_on(serving, application):
    server = serving(application, compression=True)

    with server.client() as client:
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for message in (b"abc" * 50_000, "text" * 1000, b"\0"):
            client.send(message)
            assert client.recv(WAIT_S) == message


@pytest.mark.parametrize(
    ("sent", "close"),
    [
        (frame(BINARY, bytes(1001)), 1009),
        (b"\x82\xff\x40" + bytes(7), 1009),
        (frame(BINARY, bytes(600), fin=False) + frame(CONT, bytes(401)), 1009),
        (frame(BINARY, b"", fin=False) + frame(CONT, fin=False) * 1024, 1009),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b"("), 1007),
        (b"\x82\x01x", 1002),
        (b"\xc2\x80" + bytes(4), 1002),
        (b"\x83\x80" + bytes(4), 1002),
        (frame(PING, bytes(126)), 1002),
        (frame(PING, b"x", fin=False), 1002),
        (frame(CONT, b"x"), 1002),
        (frame(BINARY, b"x", fin=False) + frame(BINARY, b"x"), 1002),
        (frame(CLOSE, b"\x03\xe7"), 1002),
        (frame(CLOSE, b"\x03\xed"), 1002),
        (frame(CLOSE, b"x"), 1002),
        (frame(CLOSE, b"\x03\xe8\xff"), 1007),
    ],
    ids=[
        "message too long",
        "length 2^62",
        "fragments too long",
        "too many fragments",
        "no utf-8",
        "no utf-8 in fragments",
        "not masked",
        "reserved bit",
        "unknown opcode",
        "ping too long",
        "ping in fragments",
        "continues nothing",
        "message inside a message",
        "code 999",
        "code 1005",
        "one byte",
        "reason no utf-8",
    ],
)
def test_a_bad_frame_closes_with_its_code(serving, sent, close):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(seen.put, lambda: None)
        seen.put(await receive())

    with serving(application, max_message_bytes=1000).upgrade() as client:
        client.sock.sendall(frame(BINARY, b"good") + sent)

        assert client.read_close()[0] == close
        client.sock.sendall(frame(BINARY, b"late"))
        assert client.sock.recv(1) == b""
    assert seen.get(timeout=WAIT_S) == b"good"
    assert seen.get(timeout=WAIT_S)["code"] == close
    assert seen.empty()


def test_a_deflate_bomb_is_too_big_before_it_has_grown(serving):
    packer = zlib.compressobj(wbits=-12)
    bomb = (packer.compress(bytes(2**26)) + packer.flush(zlib.Z_SYNC_FLUSH))[:-4]

    server = serving(direct_echo, compression=True)
    with server.upgrade(extra="Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n") as client:
        sent = bytearray(frame(BINARY, bomb))
        sent[0] |= 0x40
        client.sock.sendall(sent)

        assert client.read_close()[0] == 1009


def test_1024_fragments_are_a_message(serving):
    sent = frame(BINARY, b"a", fin=False) + frame(CONT, b"b", fin=False) * 1022 + frame(CONT, b"c")

    with serving(direct_echo).upgrade() as client:
        client.sock.sendall(sent)

        assert client.read() == (BINARY, b"a" + b"b" * 1022 + b"c")


def test_300000_empty_fragments_do_not_keep_the_loop(serving):
    lags = queue.Queue()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        task = asyncio.ensure_future(receive())
        worst_s, last_s = 0.0, time.thread_time()
        while not task.done():
            await asyncio.sleep(0)
            now_s = time.thread_time()
            worst_s, last_s = max(worst_s, now_s - last_s), now_s
        lags.put((worst_s, task.result()["code"]))

    with serving(application).upgrade() as client:
        client.sock.sendall(frame(BINARY, b"a", fin=False))
        with contextlib.suppress(ConnectionError):
            client.sock.sendall(frame(CONT, fin=False) * 300_000)
        worst_s, code = lags.get(timeout=WAIT_S)

    assert code == 1009
    assert worst_s < 0.05


def test_a_connection_that_is_over_leaves_nothing_for_a_later_collection(serving):
    server = serving(direct_echo)
    gc.collect()
    gc.disable()
    try:
        for _ in range(5):
            with server.upgrade() as client:
                client.send(BINARY, b"x")
                client.read()
        ends_at_s = time.monotonic() + WAIT_S
        while any(isinstance(found, WebSocketConnection) for found in gc.get_objects()):
            assert time.monotonic() < ends_at_s
    finally:
        gc.enable()


def test_pings_are_answered(serving):
    with serving(direct_echo).upgrade() as client:
        client.send(PING, b"are you there")

        assert client.read() == (PONG, b"are you there")


@pytest.mark.parametrize("opcode", [PING, PONG])
def test_more_control_frames_than_anyone_needs_close_with_1008(serving, opcode):
    with serving(direct_echo).upgrade() as client:
        client.sock.sendall(frame(opcode, b"x") * 50 + frame(BINARY, b"still here"))
        answers = [client.read() for _ in range(51 if opcode == PING else 1)]
        assert answers[-1] == (BINARY, b"still here")

        client.sock.sendall(frame(opcode) * 20)

        reply, payload = client.read()
        while reply == PONG:
            reply, payload = client.read()
        assert (reply, payload) == (CLOSE, b"\x03\xf0Too many pings")


@pytest.mark.parametrize(
    ("sent", "code", "reason"), [(b"\x0f\xa0four thousand", 4000, "four thousand"), (b"", 1005, ""), (None, 1006, "")]
)
@both_loops
def test_how_the_client_left_is_told(serving, sent, code, reason):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        seen.put(await receive())
        seen.put(await receive())

    with serving(application).upgrade() as client:
        if sent is not None:
            client.send(CLOSE, sent)
            assert client.read() == (CLOSE, sent)
            assert client.sock.recv(1) == b""

    assert seen.get(timeout=WAIT_S) == {"type": "websocket.disconnect", "code": code, "reason": reason}
    assert seen.get(timeout=WAIT_S) == {"type": "websocket.disconnect", "code": code, "reason": reason}
