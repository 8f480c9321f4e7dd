"""Daemons for these tests, on the event loop that a daemon has; see `daemon` for what they are."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from daemon import SERVERS, Daemon, run_daemon
from uvloops import libuv_is_warm, pytest_asyncio_loop_factories  # noqa: F401 - pytest looks for them here


@pytest.fixture(params=list(SERVERS))
def server(request: pytest.FixtureRequest) -> str:
    """Both servers: ours with its direct channel, and any other with ASGI's events."""
    name: str = request.param
    return name


@pytest_asyncio.fixture
async def start(server: str) -> AsyncIterator[Callable[..., Awaitable[Daemon]]]:
    """Return a function that starts a daemon with settings as keywords."""
    async with AsyncExitStack() as stack:
        yield lambda **settings: stack.enter_async_context(run_daemon(server, **settings))


@pytest_asyncio.fixture
async def daemon(start: Callable[..., Awaitable[Daemon]]) -> Daemon:
    """A daemon with the default settings."""
    found: Any = await start()
    assert isinstance(found, Daemon)
    return found
