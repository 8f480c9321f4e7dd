"""The raw dialect through a real socket: bytes in, bytes out, close at the end."""

import asyncio
import hashlib
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from daemon import Daemon
from observing import until
from websockets.exceptions import ConnectionClosedOK

Start = Callable[..., Awaitable[Daemon]]


async def test_what_is_typed_comes_back_and_the_end_is_a_close_1000(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("read line; echo got:$line; exit 3")) as client:
        await client.send("hello\r")

        assert await client.ends() == (1000, "")

    assert client.output == b"hello\r\ngot:hello\r\n"
    assert client.connection.subprotocol is None


async def test_text_and_binary_are_both_input_byte_for_byte(daemon: Daemon, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    target = daemon.grant(f"stty raw -echo; echo ready; head -c 262 > {copy}")
    async with daemon.open(target) as client:
        await client.hears(b"ready")
        await client.send(bytes(range(256)))
        await client.send("\u20ac\u00fc ")
        assert await client.ends() == (1000, "")

    assert copy.read_bytes() == bytes(range(256)) + "\u20ac\u00fc ".encode()


async def test_the_query_sets_the_first_size(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("stty size") + "&rows=31&cols=97") as client:
        await client.ends()

    assert client.output == b"31 97\r\n"


@pytest.mark.parametrize(("query", "expected"), [("", b"20 60"), ("&rows=0&cols=0", b"20 60"), ("&cols=99", b"24 99")])
async def test_without_a_size_in_the_query_it_is_the_grants(daemon: Daemon, query: str, expected: bytes) -> None:
    async with daemon.open(daemon.grant("stty size", rows=20, cols=60) + query) as client:
        await client.ends()

    assert client.output == expected + b"\r\n"


async def test_output_of_a_command_that_exits_at_once_is_complete(daemon: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1_500_000))

    async with daemon.open(daemon.grant(f"cat {source}", tty=False)) as client:
        assert await client.ends() == (1000, "")

    assert hashlib.sha256(client.output).digest() == hashlib.sha256(source.read_bytes()).digest()


async def test_a_message_carries_a_whole_burst(daemon: Daemon, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(os.urandom(1_000_000))

    async with daemon.open(daemon.grant(f"cat {source}", tty=False)) as client:
        await client.ends()

    assert len(client.frames) < 100
    # A character that the read before has cut adds up to three bytes.
    assert 64 * 1024 <= max(map(len, client.frames)) <= 64 * 1024 + 3


async def test_both_streams_of_pipes_are_merged_in_the_order_they_were_read(daemon: Daemon) -> None:
    script = "echo out; read x; echo err >&2; read x; echo out"
    async with daemon.open(daemon.grant(script, tty=False)) as client:
        await client.hears(b"out\n")
        await client.send(b"\n")
        await client.hears(b"err\n")
        await client.send(b"\n")
        await client.ends()

    assert client.output == b"out\nerr\nout\n"


async def test_a_character_cut_by_the_command_is_shown_whole(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant(r"printf '1 \342\202'; sleep 0.005; printf '\254 2'", tty=False)) as client:
        await client.ends()

    assert client.output == "1 \u20ac 2".encode()


async def test_input_of_a_viewer_is_counted_and_not_used(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("echo ready; read line; echo got:$line", read_only=True)) as client:
        await client.hears(b"ready")
        for _ in range(150):
            await client.send("x\r")
        await until(lambda: b'client_errors_total{code="read_only"} 150.0' in daemon.app.metrics.render()[0], "count")

        assert client.output == b"ready\r\n"


@pytest.mark.parametrize("server", ["ours"], indirect=True)
async def test_input_that_comes_with_the_handshake_is_kept(daemon: Daemon) -> None:
    """A client need not wait for the answer before it types."""
    target = daemon.grant("read line; echo got:$line")
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    handshake = (
        f"GET {target} HTTP/1.1\r\nHost: {daemon.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    writer.write(handshake.encode() + b"\x82\x82\0\0\0\0a\r")
    answer = b""
    while b"got:a" not in answer:
        answer += await asyncio.wait_for(reader.read(65536), 10)
    writer.close()

    assert b" 101 " in answer


async def test_a_client_that_stops_reading_stops_its_child_and_nobody_else(daemon: Daemon) -> None:
    flood = daemon.grant("cat /dev/zero", token="flood")
    quick = daemon.grant("read line; echo got:$line", token="quick")
    async with daemon.open(flood, max_queue=1) as stalled:
        await until(lambda: sum(s.ring.end for s in daemon.app.registry) > 1 << 20, "a flood")
        produced = -1

        def has_stopped() -> bool:
            nonlocal produced
            before, produced = produced, sum(s.ring.end for s in daemon.app.registry)
            return before == produced

        await until(has_stopped, "a stop")
        async with daemon.open(quick) as other:
            await other.send("hi\r")
            assert await other.ends() == (1000, "")
        assert b"got:hi" in other.output
        assert sum(s.ring.end for s in daemon.app.registry) < 64 << 20
        stalled.connection.transport.abort()
    await until(lambda: not len(daemon.app.registry), "no session")


@pytest.mark.parametrize("script", ["cat > /dev/null", "trap '' HUP TERM; stty raw; echo ready; sleep 1000"])
async def test_a_client_that_leaves_takes_its_session_along(daemon: Daemon, script: str) -> None:
    async with daemon.open(daemon.grant(f"echo ready; {script}")) as client:
        await client.hears(b"ready")
        assert len(daemon.app.registry) == 1

    await until(lambda: not len(daemon.app.registry), "no session")


async def test_a_command_that_reads_nothing_cannot_hide_that_its_client_has_left(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its input queue is full, so nobody reads the connection, and the client's last word waits behind its input."""
    monkeypatch.setattr("ws_subprocess.doors.links.PROBE_S", 0.05)
    async with daemon.open(daemon.grant("stty raw; echo ready; sleep 1000")) as client:
        await client.hears(b"ready")
        typing = asyncio.ensure_future(paste(client.send))
        (session,) = daemon.app.registry
        await until(lambda: session.input_bytes > 1 << 20, "a full queue")
        await asyncio.sleep(0.1)
        taken = session.input_bytes
        client.connection.transport.abort()
        await typing

    await until(lambda: not len(daemon.app.registry), "no session")
    assert taken < 4 << 20


async def paste(send: Callable[[bytes], Awaitable[None]]) -> None:
    try:
        while True:
            await send(b"x" * 50_000)
    except Exception:  # noqa: BLE001 - whatever ends it
        return


async def test_a_client_that_closes_in_good_order_is_answered(daemon: Daemon) -> None:
    async with daemon.open(daemon.grant("echo ready; sleep 1000")) as client:
        await client.hears(b"ready")
        await client.connection.close(1001, "bye")

        assert client.connection.close_code == 1001
        with pytest.raises(ConnectionClosedOK):
            await client.connection.recv()
