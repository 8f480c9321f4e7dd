"""A whole daemon in this very process for clients of the HTTP doors, with a controller that answers their proposals."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
from scripted_server import ScriptedServer, read_body, respond, scripted, target
from uvicorn_serving import serve_with_uvicorn

from ws_subprocess.address import Tcp
from ws_subprocess.app import App, create_app
from ws_subprocess.config.settings import Settings
from ws_subprocess.server.lifecycle import DrainingServer, find_http_protocol
from ws_subprocess.server.settings import ServerSettings

WAIT_S = 10.0
TOKEN = "t0ken"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@dataclass
class HttpDaemon:
    """A running daemon.

    Attributes:
        port: Where it listens; `own_port` is that of `process_listen`, 0 without one.
        grants: What the controller adds to the proposal (or, where nothing is proposed, answers) for a token; no entry
            is a refusal, bytes are sent as they are.
        questions: What the controller was asked, in order: the body of a POST, or the query of a GET.
        client: Sends the good token, unless a request has an Authorization header of its own.
    """

    app: App
    port: int
    own_port: int
    controller: ScriptedServer
    grants: dict[str, dict[str, Any] | bytes]
    questions: list[dict[str, Any]]
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def own_url(self) -> str:
        assert self.own_port
        return f"http://127.0.0.1:{self.own_port}"

    def allow(self, token: str = TOKEN, **grant: Any) -> None:
        """Let a token run what it proposes, with these keys of the grant added."""
        self.grants[token] = grant

    async def curl(self, *args: str, data: bytes = b"") -> "Curled":
        """Run curl with the good token; `{url}` and `{own_url}` stand for the daemon."""
        arguments = [a.replace("{url}", self.url) for a in args]
        if self.own_port:
            arguments = [a.replace("{own_url}", self.own_url) for a in arguments]
        process = await asyncio.create_subprocess_exec(
            "curl",
            "--silent",
            "--show-error",
            "--noproxy",
            "*",
            "-H",
            f"Authorization: Bearer {TOKEN}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WAIT_S):
            out, err = await process.communicate(data)
        assert process.returncode is not None
        return Curled(process.returncode, out, err.decode())

    @asynccontextmanager
    async def raw(self, *, own: bool = False) -> AsyncIterator["RawConnection"]:
        """Open a connection that sends what it is told."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.own_port if own else self.port)
        try:
            async with asyncio.timeout(WAIT_S):
                yield RawConnection(reader, writer)
        finally:
            writer.close()


@dataclass
class Curled:
    """What became of a run of curl."""

    exit_code: int
    out: bytes
    err: str


@dataclass
class RawConnection:
    """A connection's two halves."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> None:
        """Send a request with the good token; `_` in a header's name stands for a dash, "" leaves a header out."""
        lines = {"host": "127.0.0.1", "authorization": f"Bearer {TOKEN}", "content-length": str(len(body))}
        lines |= {name.replace("_", "-"): value for name, value in headers.items()}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value)
        self.writer.write(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + body)

    async def read_head(self) -> str:
        return (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")

    async def read_status(self) -> int:
        return int((await self.read_head()).split()[1])


@dataclass
class _Serving:
    port: int
    own_port: int = 0


@asynccontextmanager
async def _serve_ours(app: App, settings: Settings) -> AsyncIterator[_Serving]:
    ready: asyncio.Future[list[str]] = asyncio.get_running_loop().create_future()
    loopback = (Tcp("127.0.0.1", 0),)
    section = ServerSettings(
        addresses=loopback,
        doors={"process": loopback} if settings.process_listen else {},
        drain_timeout_s=0.0,
        close_timeout_s=1.0,
    )
    server = DrainingServer(app, section, app, ready.set_result, find_http_protocol())
    task = asyncio.ensure_future(server.serve())
    try:
        await asyncio.wait((task, ready), return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            await task
        yield _Serving(_find_port((await ready)[0]), *map(_find_port, server.list_urls("process")))
    finally:
        server.stop()
        await task
        server.close_listeners()


def _find_port(url: str) -> int:
    return int(url.rpartition(":")[2])


@asynccontextmanager
async def _serve_with_uvicorn(app: App, settings: Settings) -> AsyncIterator[_Serving]:
    async with serve_with_uvicorn(app, forwarded_allow_ips=list(settings.trusted_proxies)) as port:
        yield _Serving(port)


SERVERS = {"ours": _serve_ours, "uvicorn": _serve_with_uvicorn}


@dataclass
class _Answerer:
    """The controller's side: proposals that are granted come back, with what the test added to them."""

    grants: dict[str, dict[str, Any] | bytes] = field(default_factory=dict)
    questions: list[dict[str, Any]] = field(default_factory=list)
    requests: list[bytes] = field(default_factory=list)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = self.requests[-1]
        is_post = request.startswith(b"POST ")
        question = json.loads(read_body(request)) if is_post else dict(parse_qsl(urlsplit(target(request)).query))
        self.questions.append(question)
        grant = self.grants.get(question["token"])
        if isinstance(grant, bytes):
            writer.write(grant)
        elif grant is None:
            writer.write(respond("", "403 Forbidden"))
        else:
            proposed = {key: question[key] for key in ("command", "args", "cwd", "env")} if is_post else {}
            writer.write(respond(json.dumps({"command": "/bin/true", **proposed, **grant})))


@asynccontextmanager
async def run_http_daemon(kind: str = "ours", **settings: Any) -> AsyncIterator[HttpDaemon]:
    """Run a daemon until the block ends, on our server or on plain uvicorn (which has no listener per door)."""
    answerer = _Answerer()
    async with scripted(answerer) as controller:
        answerer.requests = controller.requests
        configured = Settings(**{"controller_url": controller.url, **settings})
        app = create_app(configured)
        async with (
            SERVERS[kind](app, configured) as serving,
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{serving.port}",
                headers=BEARER,
                timeout=WAIT_S,
                trust_env=False,
                limits=httpx.Limits(max_connections=None),
            ) as client,
        ):
            daemon = HttpDaemon(
                app, serving.port, serving.own_port, controller, answerer.grants, answerer.questions, client
            )
            daemon.allow()
            yield daemon
