"""Daemons for the HTTP doors' tests, on the event loop that a daemon has; see `http_daemon` for what they are."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import pytest_asyncio

# What starts and watches the real program.
sys.path.append(str(Path(__file__).parents[1] / "system"))

from command_daemon import CommandDaemon, run_command_daemon
from embedding import build  # noqa: F401 - pytest looks for it here
from http_daemon import SERVERS, HttpDaemon, run_http_daemon
from javascript import chromium  # noqa: F401 - and for this
from uvloops import libuv_is_warm, pytest_asyncio_loop_factories  # noqa: F401 - and for these


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    """Both servers: ours, and any other."""
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def start_http(server: str) -> AsyncIterator[Callable[..., Awaitable[HttpDaemon]]]:
    """Return a function that starts a daemon with settings as keywords, on either server."""
    async with AsyncExitStack() as stack:
        yield lambda **settings: stack.enter_async_context(run_http_daemon(server, **settings))


@pytest_asyncio.fixture
async def start_ours() -> AsyncIterator[Callable[..., Awaitable[HttpDaemon]]]:
    """Return a function that starts a daemon with settings as keywords, on our server."""
    async with AsyncExitStack() as stack:
        yield lambda **settings: stack.enter_async_context(run_http_daemon("ours", **settings))


@pytest_asyncio.fixture
async def payloads(start_http: Callable[..., Awaitable[HttpDaemon]], tmp_path: Path) -> HttpDaemon:
    """A daemon with the payload door, on either server."""
    return await start_http(payloads_door=True, state_dir=str(tmp_path))


@pytest_asyncio.fixture
async def rpc(start_http: Callable[..., Awaitable[HttpDaemon]]) -> HttpDaemon:
    """A daemon with the rpc door, on either server."""
    return await start_http(rpc_door=True)


@pytest_asyncio.fixture
async def start_commands(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[CommandDaemon]]]:
    """Return a function that starts a daemon with commands, on our server; settings as keywords."""
    async with AsyncExitStack() as stack:
        yield lambda **settings: stack.enter_async_context(run_command_daemon(tmp_path, **settings))


@pytest_asyncio.fixture
async def commands(start_commands: Callable[..., Awaitable[CommandDaemon]]) -> CommandDaemon:
    """A daemon with commands, on our server."""
    return await start_commands()


@pytest_asyncio.fixture
async def commands_anywhere(server: str, tmp_path: Path) -> AsyncIterator[CommandDaemon]:
    """A daemon with commands, on either server."""
    async with run_command_daemon(tmp_path, server) as daemon:
        yield daemon
