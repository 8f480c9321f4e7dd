"""The application inside somebody else's, on a server that is not ours."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
import pytest_asyncio
import uvicorn
from observing import list_children, until
from scripted_server import respond, scripted
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Mount, Route
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from ws_subprocess.app import App, create_app
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.config.settings import Settings
from ws_subprocess.model import Credentials, Grant, LaunchRequest

SCRIPT = '{"command": "/bin/sh", "args": ["-c", "read line; echo got:$line"]}'


class Host:
    """A web application of somebody who wants terminals below /terminal."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.port = 0

    async def show(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse("the host's own page")

    @contextlib.asynccontextmanager
    async def serve(self) -> AsyncIterator["Host"]:
        routes = [Route("/", self.show), Mount("/terminal", self.app)]
        application = Starlette(routes=routes, lifespan=self.app.lifespan)
        sock = socket.create_server(("127.0.0.1", 0))
        self.port = sock.getsockname()[1]
        server = uvicorn.Server(uvicorn.Config(application, log_config=None, ws="websockets-sansio"))
        task = asyncio.ensure_future(server.serve(sockets=[sock]))
        await until(lambda: server.started, "the server")
        try:
            yield self
        finally:
            server.should_exit = True
            await task


@pytest_asyncio.fixture
async def host() -> AsyncIterator[Host]:
    async with scripted(respond(SCRIPT)) as controller:
        app = create_app(Settings(controller_url=controller.url), owns_process=False)
        async with Host(app).serve() as host:
            yield host


async def talk(url: str, *typed: str) -> tuple[bytes, int | None]:
    """Return all output and the close code."""
    output = b""
    async with connect(url, proxy=None, compression=None) as client:
        for text in typed:
            await client.send(text)
        with contextlib.suppress(ConnectionClosed):
            while True:
                message = await client.recv(decode=False)
                output += message
        return output, client.close_code


async def test_mounted_in_a_foreign_application_it_serves_its_terminals(host: Host) -> None:
    output, code = await talk(f"ws://127.0.0.1:{host.port}/terminal/ws?token=t", "hello\r")

    assert output == b"hello\r\ngot:hello\r\n"
    assert code == 1000


async def test_mounted_it_serves_its_page_and_leaves_the_hosts_alone(host: Host) -> None:
    async def fetch(path: str) -> httpx.Response:
        async with httpx.AsyncClient(trust_env=False) as client:
            return await client.get(f"http://127.0.0.1:{host.port}{path}")

    own, page, script, health, nowhere = [
        await fetch(path)
        for path in ("/", "/terminal/", "/terminal/static/page.js", "/terminal/healthz", "/terminal/nope")
    ]

    assert own.text == "the host's own page"
    assert "<script" in page.text
    assert [reply.status_code for reply in (page, script, health, nowhere)] == [200, 200, 200, 404]


async def test_when_the_host_ends_so_do_its_sessions() -> None:
    script = '{"command": "/bin/sh", "args": ["-c", "trap \'\' HUP TERM; echo ready; while :; do sleep 1000; done"]}'
    async with scripted(respond(script)) as controller:
        app = create_app(Settings(controller_url=controller.url), owns_process=False)
        async with Host(app).serve() as host:
            url = f"ws://127.0.0.1:{host.port}/terminal/ws?token=t"
            async with connect(url, proxy=None, compression=None, close_timeout=5) as client:
                assert b"ready" in await client.recv(decode=False)
                assert list_children()
                host.app.kill_sessions()
                with contextlib.suppress(ConnectionClosed):
                    await client.recv()
                assert client.close_code == 1012

    assert not list_children()


async def test_a_host_that_never_enters_the_lifespan_still_gets_terminals() -> None:
    """Starlette does not run the lifespan of what is mounted."""
    async with scripted(respond(SCRIPT)) as controller:
        app = create_app(Settings(controller_url=controller.url), owns_process=False)
        told: list[dict[str, Any]] = []
        received = asyncio.Queue[dict[str, Any]]()
        for event in ({"type": "websocket.connect"}, {"type": "websocket.receive", "text": "hi\r"}):
            received.put_nowait(event)

        async def send(message: Any) -> None:
            told.append(message)

        await app(build_scope(), received.get, send)
        await close(app)

    assert (told[0]["type"], told[0]["subprotocol"]) == ("websocket.accept", None)
    assert b"".join(message["bytes"] for message in told[1:-1]) == b"hi\r\ngot:hi\r\n"
    assert told[-1] == {"type": "websocket.close", "code": 1000, "reason": ""}


async def test_a_server_that_cannot_refuse_with_an_answer_refuses_with_its_own() -> None:
    """An extension of ASGI that a server need not have."""
    async with scripted(respond("", "403 No")) as controller:
        app = create_app(Settings(controller_url=controller.url), owns_process=False)
        told: list[Any] = []

        async def send(message: Any) -> None:
            told.append(message)

        received = asyncio.Queue[dict[str, Any]]()
        received.put_nowait({"type": "websocket.connect"})
        await app(build_scope(), received.get, send)
        await close(app)

    assert told == [{"type": "websocket.close", "code": 1008}]


class Undecided:
    """An authority that grants once it is told to."""

    def __init__(self) -> None:
        self.decision: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.is_asked = False

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        self.is_asked = True
        await self.decision
        return ParsedGrant(Grant(command="/bin/sleep", args=("1000",)), ())

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("leaves_first", [True, False])
async def test_a_client_that_leaves_in_the_moment_of_the_answer_leaves_nothing_behind(leaves_first: bool) -> None:
    """Both are heard in the same turn of the loop, in either order."""
    authority = Undecided()
    app = App(Settings(), [authority], None, owns_process=False, child_nofile=None)
    told: list[Any] = []
    received = asyncio.Queue[dict[str, Any]]()
    received.put_nowait({"type": "websocket.connect"})

    async def send(message: Any) -> None:
        told.append(message)

    serving = asyncio.ensure_future(app(build_scope(), received.get, send))
    await until(lambda: authority.is_asked, "the question")
    if leaves_first:
        received.put_nowait({"type": "websocket.disconnect", "code": 1006})
        authority.decision.set_result(None)
    else:
        authority.decision.set_result(None)
        received.put_nowait({"type": "websocket.disconnect", "code": 1006})
    async with asyncio.timeout(10):
        await serving

    assert len(app.registry) == 0
    assert not list_children()


async def test_a_connection_that_is_cancelled_twice_waits_for_no_ladder() -> None:
    """A server that ends in good order cancels once; one that has no more time cancels again."""
    script = '{"command": "/bin/sh", "args": ["-c", "trap \'\' HUP TERM; echo ready; while :; do sleep 1000; done"]}'
    async with scripted(respond(script)) as controller:
        app = create_app(Settings(controller_url=controller.url), owns_process=False)
        told: list[Any] = []
        received = asyncio.Queue[dict[str, Any]]()
        received.put_nowait({"type": "websocket.connect"})

        async def send(message: Any) -> None:
            told.append(message)

        serving = asyncio.ensure_future(app(build_scope(), received.get, send))
        await until(lambda: len(told) > 1, "the first output")
        serving.cancel()
        await asyncio.sleep(0.05)
        assert not serving.done(), "the ladder takes its time"
        serving.cancel()
        await asyncio.wait([serving], timeout=1)
        assert serving.done()
        await close(app)

    assert len(app.registry) == 0
    assert not list_children()


async def test_a_client_that_is_gone_when_it_is_refused_hurts_nobody() -> None:
    app = create_app(Settings(controller_url="http://127.0.0.1:1/"), owns_process=False)
    received = asyncio.Queue[dict[str, Any]]()

    async def send(message: Any) -> None:
        raise OSError("gone")

    await app(build_scope(), received.get, send)
    await close(app)

    assert len(app.registry) == 0


def build_scope() -> dict[str, Any]:
    return {
        "type": "websocket",
        "scheme": "ws",
        "path": "/ws",
        "root_path": "",
        "query_string": b"token=t",
        "headers": [(b"host", b"127.0.0.1")],
        "client": ("127.0.0.1", 5),
        "subprotocols": [],
    }


async def close(app: App) -> None:
    """What the lifespan's end does."""
    app.kill_sessions()
    await app._gate.close()
