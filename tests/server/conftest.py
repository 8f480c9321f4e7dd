"""Servers for these tests; see `running_server` for what they are."""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

import pytest
import uvloop
from running_server import RunningServer, run_server

from ws_subprocess.server.http_httptools import HttpToolsConnection


@pytest.fixture(scope="session", autouse=True)
def libuv_is_warm() -> None:
    """libuv opens one pipe for the whole process with its first loop; let no test be blamed for it."""
    uvloop.new_event_loop().close()


@pytest.fixture
def loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    """The event loop to serve on; `both_loops` gives a test both."""
    return uvloop.new_event_loop


@pytest.fixture
def http_protocol() -> type[asyncio.Protocol]:
    """The HTTP protocol to serve with; `both_parsers` gives a test both."""
    return HttpToolsConnection


@pytest.fixture
def serving(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], http_protocol: type[asyncio.Protocol]
) -> Iterator[Callable[..., RunningServer]]:
    """Return a function that serves an application, with settings as keywords, until the test ends."""
    with contextlib.ExitStack() as stack:
        yield lambda application, **changes: stack.enter_context(
            run_server(application, loop_factory, http_protocol, **changes)
        )
