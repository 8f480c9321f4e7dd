"""The dialect `ws-subprocess.v1` through a real socket, as PROTOCOL.md has it."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from daemon import NATIVE, Daemon
from observing import until

Start = Callable[..., Awaitable[Daemon]]


async def test_the_example_of_the_protocol_byte_for_byte(daemon: Daemon) -> None:
    bearer = base64.urlsafe_b64encode(b"secret").rstrip(b"=").decode()
    daemon.grant(command="/bin/sh", args=[], env={"PS1": "$ "}, token="secret")

    async with daemon.open("/ws", NATIVE, f"bearer.{bearer}") as client:
        client.acknowledges = False
        await client.hears(b"$ ")
        await client.send(bytes.fromhex("6578697420330d"))
        await client.hears(b"$ exit 3\r\n")
        await client.acknowledge(10)
        closed = await client.ends()

    assert client.connection.subprotocol == NATIVE
    (session,) = [message["session"] for message in client.messages if message["type"] == "hello"]
    assert client.frames[0] == (
        f'{{"type":"hello","version":1,"session":"{session}","offset":0,"rows":24,"cols":80,"tty":true,'
        '"role":"owner","title":"sh"}'
    )
    assert client.output == b"$ exit 3\r\n"
    assert isinstance(client.frames[-1], str)
    last = json.loads(client.frames[-1])
    duration = last.pop("duration_s")
    assert last == {"type": "exit", "code": 3, "signal": None, "bytes": 10}
    assert 0 <= duration < 10  # The clock of uvloop counts whole milliseconds.
    assert closed == (1000, "")
    assert daemon.list_asked() == ["secret"]


async def test_a_signal_that_killed_the_command_is_named(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("echo ready; exec sleep 1000"), NATIVE) as client:
        await client.hears(b"ready")
        await client.say(type="signal", name="TERM")
        ended = await client.hears_of("exit")

    assert (ended["code"], ended["signal"]) == (None, "TERM")


async def test_an_interrupt_overtakes_input_that_nobody_reads(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("stty -isig -icanon; echo ready; exec sleep 1000"), NATIVE) as client:
        await client.hears(b"ready")
        await client.send(b"x" * 100_000)
        await client.say(type="signal", name="INT")

        assert (await client.hears_of("exit"))["signal"] == "INT"


async def test_a_new_size_reaches_the_terminal(daemon: Daemon) -> None:
    script = "trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done"
    async with daemon.open(daemon.grant(script), NATIVE) as client:
        await client.hears(b"ready")
        await client.say(type="resize", rows=40, cols=120)
        await client.ends()

    assert client.output == b"ready\r\n40 120\r\n"


async def test_end_of_file_ends_a_reader(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("cat; echo ended"), NATIVE) as client:
        await client.send(b"abc\r")
        await client.hears(b"abc\r\nabc\r\n")
        await client.say(type="eof")
        await client.ends()

    assert client.output == b"abc\r\nabc\r\nended\r\n"


async def test_end_of_file_after_the_end_is_nothing(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("head -c 540000 /dev/zero", tty=False), NATIVE) as client:
        client.acknowledges = False
        while len(client.output) < 512 * 1024:
            await client.take()
        # The window is full and the command has ended, but this client does not know yet.
        await until(lambda: not any(session.is_running for session in daemon.app.registry), "the exit")
        for message in ({"type": "eof"}, {"type": "resize", "rows": 1, "cols": 1}, {"type": "signal", "name": "KILL"}):
            await client.say(**message)
        await client.send(b"x" * 5000)
        await client.say(type="ack", offset=512 * 1024)

        assert (await client.hears_of("exit"))["bytes"] == 540_000
    assert [message["code"] for message in client.messages if message["type"] == "error"] == ["not_running"]


async def test_with_pipes_the_first_byte_of_a_message_names_its_stream(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("echo out; read x; echo err >&2; exit 9", tty=False), NATIVE) as client:
        client.acknowledges = False
        await client.hears(b"out")
        await client.send(b"\n")
        ended = await client.hears_of("exit")

    assert [frame for frame in client.frames if isinstance(frame, bytes)] == [b"\x01out\n", b"\x02err\n"]
    assert (ended["code"], ended["bytes"]) == (9, 8)
    assert client.messages[0]["tty"] is False


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ({"type": "resize", "rows": 0, "cols": 80}, "bad_resize"),
        ({"type": "resize", "rows": 2001, "cols": 2001}, "bad_resize"),
        ({"type": "signal", "name": "STOP"}, "bad_signal"),
        ({"type": "ack", "offset": 1}, "bad_ack"),
        ({"type": "paste"}, "unknown_message"),
        ([], "bad_message"),
    ],
)
async def test_a_bad_message_is_answered_and_the_session_lives(daemon: Daemon, message: Any, code: str) -> None:
    async with daemon.open(daemon.grant("read line; stty size"), NATIVE) as client:
        await client.hears_of("hello")
        await client.send(json.dumps(message))
        error = await client.hears_of("error")
        await client.send(b"\r")
        await client.ends()

    assert error["code"] == code
    assert client.output == b"\r\n24 80\r\n"


async def test_a_hundred_bad_messages_are_enough(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("sleep 1000"), NATIVE) as client:
        for _ in range(101):
            await client.send("nonsense")

        assert await client.ends() == (1008, "Too many bad messages")

    assert len([message for message in client.messages if message["type"] == "error"]) == 100
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_pings_are_answered_while_output_is_stopped_by_the_window(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("cat /dev/zero"), NATIVE) as client:
        client.acknowledges = False
        while len(client.output) < 512 * 1024:
            await client.take()
        await client.say(type="ping", id=7)

        assert await client.hears_of("pong") == {"type": "pong", "id": 7}
        assert len(client.output) == 512 * 1024


async def test_the_window_moves_with_the_acknowledgements(daemon: Daemon) -> None:
    window = 16 * 1024
    daemon_script = "head -c 100000 /dev/zero"
    async with daemon.open(daemon.grant(daemon_script, tty=False), NATIVE) as client:
        client.acknowledges = False
        acknowledged = 0
        while not [message for message in client.messages if message["type"] == "exit"]:
            await client.take()
            received = sum(len(frame) - 1 for frame in client.frames if isinstance(frame, bytes))
            assert received <= acknowledged + 512 * 1024
            if received - acknowledged >= window:
                acknowledged = received
                await client.acknowledge(acknowledged)

    assert received == 100_000


async def test_a_small_window_holds_a_client_to_it(start: Start) -> None:
    window = 128 * 1024
    daemon = await start(window_bytes=window, ring_bytes=256 * 1024)
    async with daemon.open(daemon.grant("cat /dev/zero"), NATIVE) as client:
        client.acknowledges = False
        for step in range(1, 4):
            while len(client.output) < step * window:
                await client.take()
            client.messages.clear()
            await client.say(type="ping")
            await client.hears_of("pong")
            assert len(client.output) == step * window
            await client.say(type="ack", offset=step * window)


async def test_of_a_viewer_nothing_is_used_and_it_is_told(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("read line; echo got:$line", read_only=True), NATIVE) as client:
        hello = await client.hears_of("hello")
        await client.send(b"x\r")
        error = await client.hears_of("error")

    assert hello["role"] == "viewer"
    assert error == {"type": "error", "code": "read_only", "message": "input was not used"}
    assert client.output == b""


async def test_a_line_longer_than_the_terminal_keeps_is_told(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("stty -echo; echo ready; head -n 1 | wc -c"), NATIVE) as client:
        await client.hears(b"ready")
        await client.send(b"x" * 10_000 + b"\r")
        error = await client.hears_of("error")
        await client.hears_of("exit")

    assert error["code"] == "line_truncated_risk"
    assert client.output.split()[-1] == b"4096"


@pytest.mark.parametrize(
    ("limit", "script", "close"),
    [
        ({"idle_timeout_s": 0.2}, "sleep 1000", (4408, "Idle for too long")),
        ({"max_lifetime_s": 0.2}, "cat /dev/zero", (4410, "Session lived its time")),
    ],
)
async def test_a_limit_of_the_grant_ends_the_session_with_its_own_close(
    daemon: Daemon, limit: dict[str, float], script: str, close: tuple[int, str]
) -> None:
    async with daemon.open(daemon.grant(script, **limit), NATIVE) as client:
        closed = await client.ends()

    kinds = [message["type"] for message in client.messages]
    assert kinds[0] == "hello"
    assert kinds[-2:] == ["error", "exit"]
    assert client.messages[-1]["signal"] == "HUP"
    assert closed == close
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_clients_are_told_that_the_daemon_drains_and_then_why_their_session_ended(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("sleep 1000"), NATIVE) as client:
        await client.hears_of("hello")
        daemon.app.begin_drain()
        assert (await client.hears_of("error"))["code"] == "draining"
        ending = asyncio.ensure_future(daemon.app.end_sessions())

        assert await client.ends() == (1012, "Server is shutting down")
        await ending
    assert len(daemon.app.registry) == 0


async def test_killing_all_sessions_closes_their_clients(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("trap '' HUP TERM; echo ready; sleep 1000"), NATIVE) as client:
        await client.hears(b"ready")

        daemon.app.kill_sessions()

        assert await client.ends() == (1012, "Server is shutting down")


async def test_a_client_may_offer_more_dialects_and_gets_the_one_we_speak(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("true"), "chat.v9", NATIVE, "other") as client:
        await client.ends()

    assert client.connection.subprotocol == NATIVE


async def test_of_dialects_that_nobody_speaks_none_is_chosen(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("echo hi"), "chat.v9") as client:
        await client.ends()

    assert client.connection.subprotocol is None
    assert client.output == b"hi\r\n"
