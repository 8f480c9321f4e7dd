"""Everything a controller can do wrong, asked by many at once: the right code in time, and nothing left or piled up."""

import asyncio
import gc
import gzip
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asking import asking
from certificates import make_authority, make_certificate, serve_tls
from scripted_server import respond

from ws_subprocess.auth.client_tls import build_context
from ws_subprocess.errors import GateError

CLIENTS = 60
PLACES = 20
# For those that are late on purpose, and for those that are not.
LATE_S = 0.8
TIMEOUT_S = 5.0
GRACE_S = 0.5
HTTPS = "https://127.0.0.1"
MEMORY_MAX_BYTES = 48 * 1024 * 1024

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def say(data: bytes) -> Behaviour:
    async def behave(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(data)
        await writer.drain()

    return behave


async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
    while not writer.is_closing():
        writer.write(b" ")
        await writer.drain()
        await asyncio.sleep(0.05)


async def inform(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
        await writer.drain()
        await asyncio.sleep(0.01)


async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    while not writer.is_closing():
        writer.write(b"8000\r\n" + b" " * 0x8000 + b"\r\n")
        await writer.drain()


async def reset(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


BOMB = gzip.compress(b" " * 50_000_000)
# The first are late, those who wait meanwhile get no place, and those who come later find the breaker open.
LATE = {"controller_timeout", "controller_busy", "controller_unreachable"}
BEHAVIOURS: dict[str, tuple[Behaviour, set[str]]] = {
    "hang": (hang, LATE),
    "drip": (drip, LATE),
    "endless 1xx": (inform, LATE),
    "500": (say(respond("oops", "500 Oops")), {"controller_error"}),
    "redirect": (say(respond("", "302 Found", "Location: http://127.0.0.1:1/")), {"denied"}),
    "huge": (flood, {"controller_too_big"}),
    "bomb": (say(respond(BOMB, "200 OK", "Content-Encoding: gzip")), {"controller_bad_encoding"}),
    "truncated": (say(respond('{"command": "/bin/true"', length=500)), {"controller_bad_answer"}),
    "garbage": (say(os.urandom(2000) + b"\r\n\r\n"), {"controller_bad_answer"}),
    "reset": (reset, {"controller_bad_answer"}),
}


@asynccontextmanager
async def misbehaving(behave: Behaviour, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve until the block ends, and until every connection has ended."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        serving.add(task)
        try:
            await behave(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    async with server:
        yield server.sockets[0].getsockname()[1]
    if serving:
        await asyncio.wait(serving)


def read_memory() -> int:
    gc.collect()
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


async def storm(url: str, timeout_s: float = TIMEOUT_S, tls: ssl.SSLContext | None = None) -> set[str]:
    """Let all ask at once; return the codes they got, each in time."""
    loop = asyncio.get_running_loop()

    async with asking(url, timeout_s, max_questions=PLACES, tls=tls) as ask:

        async def knock() -> str:
            begun = loop.time()
            with pytest.raises(GateError) as caught:
                await ask("t0ken")
            assert loop.time() - begun < timeout_s + GRACE_S
            assert "t0ken" not in str(caught.value)
            return caught.value.code

        return set(await asyncio.gather(*(knock() for _ in range(CLIENTS))))


@pytest.mark.parametrize("name", BEHAVIOURS)
async def test_whatever_the_controller_does_each_client_gets_its_code_in_time(name: str) -> None:
    behave, codes = BEHAVIOURS[name]
    before = read_memory()

    async with misbehaving(behave) as port:
        assert await storm(f"http://127.0.0.1:{port}/", LATE_S if codes is LATE else TIMEOUT_S) <= codes

    assert read_memory() - before < MEMORY_MAX_BYTES


async def test_a_controller_that_refuses_connections_is_unreachable_for_all() -> None:
    assert await storm("http://127.0.0.1:1/") == {"controller_unreachable"}


async def test_a_tls_handshake_that_hangs_is_late_for_all(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)

    async with misbehaving(hang) as port:
        codes = await storm(f"https://127.0.0.1:{port}/", LATE_S, build_context(HTTPS, str(authority.cert)))

    assert codes <= LATE


async def test_a_wrong_certificate_is_unreachable_for_all(tmp_path: Path) -> None:
    authority, other = make_authority(tmp_path), make_authority(tmp_path, "other")
    served = serve_tls(make_certificate(tmp_path, "controller", other))

    async with misbehaving(hang, served) as port:
        codes = await storm(f"https://127.0.0.1:{port}/", tls=build_context(HTTPS, str(authority.cert)))

    assert codes == {"controller_unreachable"}
