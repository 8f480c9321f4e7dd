"""Servers for these tests; see `running_server` for what they are."""

import asyncio
import contextlib
import queue
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import uvloop
from running_server import RunningServer, run_server
from uvloops import libuv_is_warm  # noqa: F401 - pytest looks for it here

from ws_subprocess.server.http_httptools import HttpToolsConnection


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


@pytest.fixture
def calls() -> queue.Queue[Any]:
    """The requests that reached the application."""
    return queue.Queue()


@pytest.fixture
def application(calls: queue.Queue[Any]) -> Any:
    """Answer with what was received."""

    async def echo(scope: Any, receive: Any, send: Any) -> None:
        calls.put(scope)
        if scope["type"] == "websocket":
            return
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message["body"], message["more_body"]
        answer = scope["path"].encode() + b" " + body
        headers = [(b"content-length", b"%d" % len(answer))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    return echo
