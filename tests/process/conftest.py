"""Children for these tests, on both event loops; see `children` for what they are."""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest
import pytest_asyncio
import uvloop
from children import Nursery
from uvloops import libuv_is_warm  # noqa: F401 - pytest looks for it here

from ws_subprocess.process.spawner import Spawner

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run every test of a child on both loops that a daemon may have: uvloop, and asyncio where that is missing."""
    return LOOPS


@pytest.fixture(params=[True, False], ids=["terminal", "pipes"])
def tty(request: pytest.FixtureRequest) -> bool:
    """Both ways to wire a child."""
    is_tty: bool = request.param
    return is_tty


@pytest_asyncio.fixture
async def nursery() -> AsyncIterator[Nursery]:
    """Start children as a program does that has other children too: orphans are not adopted."""
    nursery = Nursery(Spawner(input_limit_bytes=64 * 1024, owns_process=False))
    yield nursery
    nursery.end()
