"""Daemons for the HTTP doors' tests, on the event loop that a daemon has; see `http_daemon` for what they are."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop
from command_daemon import CommandDaemon, run_command_daemon
from http_daemon import SERVERS, HttpDaemon, run_http_daemon

# What starts and watches the real program.
sys.path.append(str(Path(__file__).parents[1] / "system"))


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    """Serve on uvloop."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def libuv_is_warm() -> None:
    """libuv opens one pipe for the whole process with its first loop; let no test be blamed for it."""
    uvloop.new_event_loop().close()


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
