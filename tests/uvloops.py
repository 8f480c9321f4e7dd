"""The event loop that a daemon has, for tests whose daemon is in this process; their conftest.py imports both names."""

from collections.abc import Callable
from typing import Any

import pytest
import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], Any]]:
    """Serve on uvloop; `tests/test_app.py` has the other one."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(scope="session", autouse=True)
def libuv_is_warm() -> None:
    """libuv opens one pipe for the whole process with its first loop; let no test be blamed for it."""
    uvloop.new_event_loop().close()
