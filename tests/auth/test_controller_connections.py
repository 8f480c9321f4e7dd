"""Connections to the controller: when a question may be put again, and unix sockets."""

import asyncio
import resource
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asking import GOOD, asking
from observing import until
from scripted_server import read_headers, scripted, target

from ws_subprocess.auth.questions import RETRY_PAUSES_S
from ws_subprocess.errors import CapacityError, GateError

Stage = Callable[[asyncio.StreamReader], Awaitable[bytes]]
BODY = b'{"command": "/bin/true"}'
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n" % len(BODY)


async def accepted(reader: asyncio.StreamReader) -> bytes:
    return b""


async def asked(reader: asyncio.StreamReader) -> bytes:
    await reader.readuntil(b"\r\n\r\n")
    return b""


async def amid_head(reader: asyncio.StreamReader) -> bytes:
    return await asked(reader) + HEAD[:20]


async def amid_body(reader: asyncio.StreamReader) -> bytes:
    return await asked(reader) + HEAD + b"\r\n" + BODY[:-5]


@asynccontextmanager
async def breaking_off(stage: Stage, is_reset: bool) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve so far and no further; give the URL and the connections."""
    connections: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.append("open")
        writer.write(await stage(reader))
        await writer.drain()
        if is_reset:
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.transport.abort()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", connections


@pytest.mark.parametrize("is_reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("stage", [accepted, asked, amid_head, amid_body])
async def test_who_accepted_is_asked_once_wherever_it_breaks_off(stage: Stage, is_reset: bool) -> None:
    async with breaking_off(stage, is_reset) as (url, connections), asking(url) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken")

    assert (caught.value.code, caught.value.fault.status) == ("controller_bad_answer", 502)
    assert "t0ken" not in str(caught.value)
    assert len(connections) == 1


async def test_a_controller_that_is_just_being_started_is_waited_for() -> None:
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", 0))
        async with asking(f"http://127.0.0.1:{sock.getsockname()[1]}/") as ask:
            question = asyncio.ensure_future(ask("t0ken"))
            await asyncio.sleep(RETRY_PAUSES_S[0] / 2)  # Refused once: nobody listens yet.
            assert not question.done()

            server = await asyncio.start_server(_answer_once, sock=sock)
            async with server:
                parsed = await question

    assert parsed.grant.command == "/bin/true"


async def _answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(GOOD)
    await writer.drain()
    writer.close()


async def test_a_pause_that_would_end_after_the_deadline_is_not_made() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    async with asking("http://127.0.0.1:1/", timeout_s=RETRY_PAUSES_S[0] / 2) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken")

    assert caught.value.code == "controller_unreachable", "known for certain, and no timeout"
    assert "Errno 111" in caught.value.detail
    assert loop.time() - begun < RETRY_PAUSES_S[0]


async def test_a_name_that_nobody_knows_is_unreachable() -> None:
    async with asking("http://controller.invalid/", timeout_s=0.04) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken")

    assert caught.value.code in ("controller_unreachable", "controller_timeout"), "a resolver may be slow to say so"


async def test_a_unix_socket_is_asked_under_the_name_in_the_url(tmp_path: Path) -> None:
    path = str(tmp_path / "controller.sock")
    url = "http://controller.example:81/c?a=1"
    async with scripted(GOOD, socket=path) as server, asking(url, socket=path) as ask:
        parsed = await ask("t0ken")
        await ask("t0ken2")

    assert parsed.grant.command == "/bin/true"
    assert read_headers(server.requests[0])["host"] == "controller.example:81"
    assert [target(request) for request in server.requests] == ["/c?a=1&token=t0ken", "/c?a=1&token=t0ken2"]
    assert server.connections == 1


@pytest.mark.parametrize(("name", "says"), [("none.sock", "No such file"), ("x" * 200, "too long")])
async def test_a_unix_socket_that_cannot_be_reached_is_named(tmp_path: Path, name: str, says: str) -> None:
    async with asking("http://localhost/", socket=str(tmp_path / name)) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken")

    assert caught.value.code == "controller_unreachable"
    assert name in caught.value.detail
    assert says in caught.value.detail


async def test_a_question_over_a_unix_socket_can_be_given_up(tmp_path: Path) -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    path = str(tmp_path / "controller.sock")
    async with scripted(stall, socket=path) as server, asking("http://localhost/", socket=path) as ask:
        question = asyncio.ensure_future(ask("t0ken"))
        await until(lambda: server.requests, "the question")
        question.cancel()
        await asyncio.wait([question])
        await until(lambda: server.closed, "the end of its connection")


async def test_descriptors_that_ran_out_are_our_own_want_and_not_the_controllers() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket() as highest:
            resource.setrlimit(resource.RLIMIT_NOFILE, (highest.fileno(), hard))
            try:
                errors = await asyncio.gather(*(ask("t0ken") for _ in range(20)), return_exceptions=True)
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        parsed = await ask("t0ken")

    assert all(isinstance(error, CapacityError) for error in errors)
    assert {error.code for error in errors} == {"no_resources"}
    assert {error.retry_after_s for error in errors} == {1}
    assert parsed.grant.command == "/bin/true", "as soon as there are some again"
