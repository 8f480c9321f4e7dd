"""Messages of a websocket, both ways an application can have them: ASGI's queue and the direct channel."""

import asyncio
import contextlib
import logging
import queue
import time

import pytest
from echoes import direct_echo, plain_echo
from running_server import BINARY, CLOSE, TEXT, WAIT_S, both_loops, both_parsers, direct, frame


@both_loops
@both_parsers
@pytest.mark.parametrize("application", [plain_echo, direct_echo])
def test_bytes_and_text_of_every_size_come_back_unchanged(serving, application):
    server = serving(application)

    with server.client(compression=None) as client:
        for message in (
            b"",
            b"\0\xff",
            b"x" * 125,
            b"y" * 126,
            b"z" * 65535,
            b"a" * 65536,
            b"b" * 2**20,
            "",
            "h\u00e9\U0001f600" * 9,
        ):
            client.send(message)
            assert client.recv(WAIT_S) == message


@both_loops
def test_bytes_like_objects_are_sent_as_one_binary_message(serving):
    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        for message in (b"one", bytearray(b"two"), memoryview(b"_three_")[1:-1], "four"):
            assert channel.send(message)
        await receive()

    with serving(application).client() as client:
        assert [client.recv(WAIT_S) for _ in range(4)] == [b"one", b"two", b"three", "four"]


@both_parsers
def test_frames_in_the_packet_of_the_handshake_are_kept(serving):
    early = frame(BINARY, b"early") + frame(TEXT, b"bird")

    with serving(direct_echo).upgrade(early=early) as client:
        assert client.read() == (BINARY, b"early")
        assert client.read() == (TEXT, b"bird")


@both_parsers
def test_a_frame_cut_by_the_end_of_the_handshake_packet_is_joined(serving):
    whole = frame(BINARY, b"cut in two")

    with serving(direct_echo).upgrade(early=whole[:7]) as client:
        client.sock.sendall(whole[7:])

        assert client.read() == (BINARY, b"cut in two")


def test_messages_before_start_are_delivered_first_and_in_order(serving):
    seen, has_some = queue.Queue(), asyncio.Event()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await has_some.wait()
        channel = scope["extensions"]["ws_subprocess.direct"]["channel"]
        channel.start(seen.put, lambda: None)
        seen.put(await receive())

    server = serving(application)
    with server.upgrade() as client:
        for number in range(100):
            client.send(TEXT, b"%d" % number)
        server.loop.call_soon_threadsafe(has_some.set)
        client.send(CLOSE, b"\x03\xe8bye")
        client.read_close()

    assert [seen.get(timeout=WAIT_S) for _ in range(100)] == [str(number) for number in range(100)]
    assert seen.get(timeout=WAIT_S) == {"type": "websocket.disconnect", "code": 1000, "reason": "bye"}
    assert seen.empty()


def test_half_of_the_messages_may_come_through_receive_before_start(serving):
    seen = queue.Queue()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        seen.put((await receive())["text"])
        scope["extensions"]["ws_subprocess.direct"]["channel"].start(seen.put, lambda: None)
        await receive()

    with serving(application).upgrade(early=frame(TEXT, b"first") + frame(TEXT, b"second")) as client:
        client.send(TEXT, b"third")

        assert [seen.get(timeout=WAIT_S) for _ in range(3)] == ["first", "second", "third"]


@pytest.mark.parametrize("failing", ["on_message", "on_writable"])
@both_loops
def test_an_error_in_a_callback_is_logged_and_closes_with_1011(serving, failing, caplog):
    seen = queue.Queue()

    def fail(*_):
        raise ZeroDivisionError

    @direct
    async def application(channel, receive):
        channel.start(fail, fail)
        if failing == "on_writable":
            while channel.send(bytes(65536)):
                pass
        seen.put(await receive())

    with serving(application).upgrade() as client:
        if failing == "on_message":
            client.send(BINARY, b"x")
        opcode, payload = client.read()
        while opcode == BINARY:
            opcode, payload = client.read()

        assert (opcode, payload) == (CLOSE, b"\x03\xf3Internal error")
    assert seen.get(timeout=WAIT_S)["code"] == 1011
    assert [record.exc_info[0] for record in caplog.records if record.levelno == logging.ERROR] == [ZeroDivisionError]


@both_loops
def test_send_says_when_it_is_too_much_and_on_writable_comes_once(serving):
    calls = queue.Queue()

    @direct
    async def application(channel, receive):
        def on_writable():
            calls.put("writable")

        channel.start(lambda message: None, on_writable)
        sent = 1
        while channel.send(bytes(16384)):
            sent += 1
        channel.send(b"end")
        calls.put(sent)
        await receive()

    with serving(application).upgrade() as client:
        sent = calls.get(timeout=WAIT_S)
        assert calls.empty(), "nothing was read yet"
        for _ in range(sent):
            assert client.read() == (BINARY, bytes(16384))
        assert client.read() == (BINARY, b"end")

        assert calls.get(timeout=WAIT_S) == "writable"
        client.send(CLOSE)
        client.read()
    assert calls.empty()


@both_loops
def test_a_flood_to_a_stopped_reader_stops_at_the_high_water_mark(serving):
    sizes = queue.Queue()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        sent = 0
        with contextlib.suppress(TimeoutError):
            while sent < 2**28:
                async with asyncio.timeout(0.2):
                    await send({"type": "websocket.send", "bytes": bytes(65536)})
                sent += 65536
        sizes.put(sent)

    with serving(application).upgrade():
        # The kernel's buffers on both sides are several MiB; ours hold one message more than the high-water mark.
        assert sizes.get(timeout=WAIT_S) < 16 * 2**20


@both_loops
def test_who_writes_on_above_1_mib_is_cut(serving, caplog):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        for _ in range(1000):
            channel.send(bytes(65536))
        seen.put(await receive())

    with serving(application).upgrade():
        assert seen.get(timeout=WAIT_S)["code"] == 1006
    assert "connection cut: its peer takes nothing" in caplog.messages


@both_loops
def test_send_after_the_end_is_ignored(serving):
    results = queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(lambda message: None, lambda: None)
        await receive()
        results.put([channel.send(bytes(2**20)) for _ in range(10)])

    with serving(application).upgrade():
        pass

    assert results.get(timeout=WAIT_S) == [True] * 10


@both_loops
def test_pause_stops_reading_and_resume_reads_on(serving):
    seen, channels = queue.Queue(), queue.Queue()

    @direct
    async def application(channel, receive):
        channel.start(seen.put, lambda: None)
        channel.pause()
        channel.pause()
        channels.put(channel)
        await receive()

    server = serving(application)
    with server.upgrade() as client:
        channel = channels.get(timeout=WAIT_S)
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sock.sendall(frame(BINARY, bytes(2**20)) * 32)
        assert seen.empty()

        server.loop.call_soon_threadsafe(channel.resume)

        assert seen.get(timeout=WAIT_S) == bytes(2**20)


def test_many_small_messages_in_one_read_leave_others_their_turn(serving):
    lags = queue.Queue()

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        count = 0

        def on_message(message):
            nonlocal count
            count += 1
            sum(range(200))

        scope["extensions"]["ws_subprocess.direct"]["channel"].start(on_message, lambda: None)
        worst_s, last_s = 0.0, time.thread_time()
        while count < 100_000:
            await asyncio.sleep(0)
            now_s = time.thread_time()
            worst_s, last_s = max(worst_s, now_s - last_s), now_s
        lags.put(worst_s)

    with serving(application).upgrade() as client:
        client.sock.sendall(frame(BINARY, b"x") * 100_000)

        # In time of the processor, which a busy machine does not change.
        assert lags.get(timeout=WAIT_S) < 0.05
