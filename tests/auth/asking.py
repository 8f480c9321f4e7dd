"""Asking a real server about a token."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from scripted_server import Answer, ScriptedServer, respond, scripted

from ws_subprocess.auth.controller import Controller, ControllerSettings
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest
from ws_subprocess.process.environ import is_refused

REQUEST = LaunchRequest("terminal", "127.0.0.1")
GOOD = respond('{"command": "/bin/true"}')


@asynccontextmanager
async def asking(url: str, timeout_s: float = 5.0, **section: Any) -> AsyncIterator[Callable[..., Any]]:
    """Give a function that asks about a token; `section` is the rest of `ControllerSettings`."""
    controller = Controller(ControllerSettings(url, timeout_s, **section), is_refused)
    try:
        yield lambda token, request=REQUEST: controller.ask(Credentials(token), request)
    finally:
        await controller.close()


async def ask_once(answer: Answer, timeout_s: float = 5.0) -> tuple[ParsedGrant, ScriptedServer]:
    async with scripted(answer) as server, asking(server.url, timeout_s) as ask:
        return await ask("t0ken"), server


async def be_refused(answer: Answer, timeout_s: float = 5.0) -> GateError:
    async with scripted(answer) as server, asking(server.url, timeout_s) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken")
        assert len(server.requests) == 1, "asked once, whatever came of it"
    assert "t0ken" not in str(caught.value)
    return caught.value
