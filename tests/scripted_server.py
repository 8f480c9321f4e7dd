"""A server that answers with the very bytes it is told to, good HTTP or not, and remembers what it was asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Answer = bytes | Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class ScriptedServer:
    """Answers every request with `answer`; keeps the connection afterwards until the client ends it."""

    answer: Answer
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    closed: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/ws-controller"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                self.requests.append(head + await reader.readexactly(int(read_headers(head).get("content-length", 0))))
                if isinstance(self.answer, bytes):
                    writer.write(self.answer)
                    await writer.drain()
                else:
                    await self.answer(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            self.closed += 1
            writer.close()


@asynccontextmanager
async def scripted(
    answer: Answer, tls: ssl.SSLContext | None = None, socket: str = ""
) -> AsyncIterator[ScriptedServer]:
    """Serve until the block ends; on a unix socket if one is named."""
    scripted = ScriptedServer(answer)
    if socket:
        server = await asyncio.start_unix_server(scripted.serve, socket, ssl=tls)
    else:
        server = await asyncio.start_server(scripted.serve, "127.0.0.1", 0, ssl=tls)
        scripted.port = server.sockets[0].getsockname()[1]
    try:
        yield scripted
    finally:
        server.close()
        await server.wait_closed()


def respond(body: bytes | str = b"", status: str = "200 OK", *headers: str, length: int | None = None) -> bytes:
    """Return a whole response; `length` lies about the body's."""
    data = body.encode() if isinstance(body, str) else body
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(data) if length is None else length}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + data


def target(request: bytes) -> str:
    """Return the target of a request's first line."""
    return request.split(b" ", 2)[1].decode("ascii")


def read_body(request: bytes) -> bytes:
    """Return a request's body."""
    return request.partition(b"\r\n\r\n")[2]


def read_headers(request: bytes) -> dict[str, str]:
    """Return a request's headers by lower-case name."""
    lines = request.partition(b"\r\n\r\n")[0].decode("ascii").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines if line)}
