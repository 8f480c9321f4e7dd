"""Children for these tests; see `children` for what they are."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from children import Nursery

from ws_subprocess.process.spawner import Spawner


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
