"""A whole daemon in this very process, on a real socket, with a controller whose answers a test decides."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from scripted_server import ScriptedServer, read_body, respond, scripted, target
from uvicorn_serving import serve_with_uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from ws_subprocess.address import Tcp
from ws_subprocess.app import App, create_app
from ws_subprocess.config.settings import Settings
from ws_subprocess.server.lifecycle import DrainingServer, find_http_protocol
from ws_subprocess.server.settings import ServerSettings

WAIT_S = 10.0
NATIVE = "ws-subprocess.v1"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
SHELL = {"command": "/bin/sh"}


@dataclass
class Reply:
    """An HTTP answer."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def get(self, name: str) -> str | None:
        """Return the one header of that name, None when there is none."""
        values = [value for key, value in self.headers if key.lower() == name.lower()]
        assert len(values) <= 1, f"{name} stands more than once"
        return values[0] if values else None

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Daemon:
    """A running daemon.

    Attributes:
        grants: What the controller answers to a token; no entry is a refusal, bytes are sent as they are.
    """

    app: App
    port: int
    controller: ScriptedServer
    grants: dict[str, dict[str, Any] | bytes]

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def list_asked(self) -> list[str]:
        """Return the tokens that the controller was asked about, in order."""
        return [read_token(request) for request in self.controller.requests]

    def grant(self, script: str = "", token: str = "t0ken", **grant: Any) -> str:
        """Let a token run a shell script, or with `command` anything; return the target that uses it."""
        self.grants[token] = {**SHELL, "args": ["-c", script], **grant}
        return f"/ws?token={token}"

    async def request(self, method: str, path: str, *headers: tuple[str, str], host: str | None = None) -> Reply:
        """Send a request exactly as told, and return the answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        lines = [f"{method} {path} HTTP/1.1", f"Host: {self.host if host is None else host}"]
        lines += [f"{name}: {value}" for name, value in headers]
        try:
            async with asyncio.timeout(WAIT_S):
                writer.write("\r\n".join(lines).encode("utf-8") + b"\r\n\r\n")
                return await read_reply(reader, has_body=method != "HEAD")
        finally:
            writer.close()

    async def get(self, path: str, *headers: tuple[str, str], host: str | None = None) -> Reply:
        return await self.request("GET", path, *headers, host=host)

    async def knock(self, path: str, *headers: tuple[str, str], host: str | None = None) -> Reply:
        """Send a websocket handshake and return the answer; leave if it was accepted."""
        handshake = (
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        )
        return await self.get(path, *handshake, *headers, host=host)

    @asynccontextmanager
    async def open(self, path: str, *protocols: str, **options: Any) -> AsyncIterator["Client"]:
        """Open a websocket with the client of the `websockets` package."""
        chosen = [Subprotocol(protocol) for protocol in protocols] or None
        connection = await connect(
            f"ws://{self.host}{path}",
            subprotocols=chosen,
            proxy=None,
            compression=None,
            max_size=None,
            ping_interval=None,
            close_timeout=WAIT_S,
            **options,
        )
        async with connection:
            yield Client(connection)


@dataclass
class Client:
    """A client that keeps what it was sent."""

    connection: ClientConnection
    output: bytes = b""
    messages: list[dict[str, Any]] = field(default_factory=list)
    frames: list[bytes | str] = field(default_factory=list)
    acknowledges: bool = True

    async def send(self, message: bytes | str) -> None:
        await self.connection.send(message)

    async def say(self, **message: Any) -> None:
        await self.send(json.dumps(message))

    async def take(self) -> None:
        """Receive one message; acknowledge it as a good client does."""
        async with asyncio.timeout(WAIT_S):
            message = await self.connection.recv()
        self.frames.append(message)
        if isinstance(message, str):
            self.messages.append(json.loads(message))
        else:
            self.output += message
            if self.connection.subprotocol == NATIVE and self.acknowledges:
                await self.acknowledge(len(self.output))

    async def acknowledge(self, offset: int) -> None:
        """Acknowledge, unless the server has said its last word meanwhile."""
        with contextlib.suppress(ConnectionClosed):
            await self.say(type="ack", offset=offset)

    async def hears(self, data: bytes) -> None:
        """Receive until the output holds `data`."""
        while data not in self.output:
            await self.take()

    async def hears_of(self, kind: str) -> dict[str, Any]:
        """Receive until a JSON message of that type has come; return the last one."""
        while not [message for message in self.messages if message["type"] == kind]:
            await self.take()
        return [message for message in self.messages if message["type"] == kind][-1]

    async def ends(self) -> tuple[int | None, str | None]:
        """Receive to the end; return close code and reason."""
        try:
            while True:
                await self.take()
        except ConnectionClosed:
            return self.connection.close_code, self.connection.close_reason


def read_token(question: bytes) -> str:
    """Return the token that the controller is asked about: in the query, or with a proposal in the body."""
    if question.startswith(b"POST "):
        token: str = json.loads(read_body(question))["token"]
        return token
    return dict(parse_qsl(urlsplit(target(question)).query))["token"]


async def read_reply(reader: asyncio.StreamReader, *, has_body: bool = True) -> Reply:
    """Read an HTTP answer whose end is told by its length, or by the end of the stream."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    status, *lines = head.rstrip().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    reply = Reply(int(status.split()[1]), headers, b"")
    if reply.status not in (101, 204) and has_body:
        length = reply.get("content-length")
        reply.body = await (reader.read() if length is None else reader.readexactly(int(length)))
    return reply


@asynccontextmanager
async def _serve_ours(app: App, trusted_proxies: tuple[str, ...]) -> AsyncIterator[int]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    settings = ServerSettings(
        addresses=(Tcp("127.0.0.1", 0),),
        trusted_proxies=trusted_proxies,
        drain_timeout_s=0.0,
        close_timeout_s=1.0,
        ping_interval_s=0.5,
    )
    server = DrainingServer(app, settings, app, lambda urls: ready.set_result(urls[0]), find_http_protocol())
    task = asyncio.ensure_future(server.serve())
    try:
        yield int((await ready).rpartition(":")[2])
    finally:
        server.stop()
        await task
        server.close_listeners()


@asynccontextmanager
async def _serve_with_uvicorn(app: App, trusted_proxies: tuple[str, ...]) -> AsyncIterator[int]:
    async with serve_with_uvicorn(app, ws="websockets-sansio", forwarded_allow_ips=list(trusted_proxies)) as port:
        yield port


SERVERS = {"ours": _serve_ours, "uvicorn": _serve_with_uvicorn}


@asynccontextmanager
async def run_daemon(kind: str, **settings: Any) -> AsyncIterator[Daemon]:
    """Run a daemon until the block ends, on our server or on plain uvicorn."""
    grants: dict[str, dict[str, Any] | bytes] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        grant = grants.get(read_token(controller.requests[-1]))
        if isinstance(grant, bytes):
            writer.write(grant)
        else:
            writer.write(respond("", "403 Forbidden") if grant is None else respond(json.dumps(grant)))

    async with scripted(answer) as controller:
        configured = Settings(**{"controller_url": controller.url, **settings})
        app = create_app(configured)
        async with SERVERS[kind](app, configured.trusted_proxies) as port:
            yield Daemon(app, port, controller, grants)
