"""Knocking at the door in every way, and what is expected of a refusal."""

import asyncio
import base64
import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

from daemon import Daemon, Reply

from ws_subprocess.errors import FAULTS

Start = Callable[..., Awaitable[Daemon]]
PROBLEM = ("Accept", "application/problem+json")


def bearer(token: bytes) -> str:
    return "bearer." + base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def protocols(*names: str) -> tuple[str, str]:
    return ("Sec-WebSocket-Protocol", ", ".join(names))


def authorization(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


async def expect(daemon: Daemon, code: str, path: str, *headers: tuple[str, str], host: str | None = None) -> Reply:
    """Knock twice: the answer must be the code's, as text and as a problem."""
    fault = FAULTS[code]
    text = await daemon.knock(path, *headers, host=host)
    problem = await daemon.knock(path, PROBLEM, *headers, host=host)

    assert (text.status, text.body.decode()) == (fault.status, fault.title)
    assert text.get("content-type") == "text/plain; charset=utf-8"
    assert problem.status == fault.status
    assert problem.get("content-type") == "application/problem+json"
    told = problem.json()
    told.pop("detail", None)
    assert told.pop("request_id") == problem.get("x-request-id")
    assert told == {"type": "about:blank", "title": fault.title, "status": fault.status, "code": code}
    for reply in (text, problem):
        assert reply.get("cache-control") == "no-store"
        assert reply.get("sec-websocket-accept") is None
    return problem


@contextlib.contextmanager
def held_controller(daemon: Daemon) -> Any:
    """Let the controller answer only once the function that this gives is called."""
    free, answer = asyncio.Event(), daemon.controller.answer
    assert not isinstance(answer, bytes)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = {asyncio.ensure_future(free.wait()), asyncio.ensure_future(reader.read(1))}
        _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        if not free.is_set():
            raise ConnectionResetError
        await answer(reader, writer)

    daemon.controller.answer = wait
    yield free.set
    daemon.controller.answer = answer
