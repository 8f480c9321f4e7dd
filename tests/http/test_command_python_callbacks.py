"""Callbacks of registered commands: when they hear of an end, what they may replace, and what their failures change."""

import asyncio
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest
from embedding import asking, run
from observing import becomes_true
from starlette.applications import Starlette

from ws_subprocess.app import App
from ws_subprocess.service.command_future import CommandFuture
from ws_subprocess.shell2http import Shell2HTTP


async def test_a_callback_hears_of_the_end_before_the_report_is_seen(build: Callable[[], App | Starlette]) -> None:
    heard: list[tuple[dict[str, Any], dict[str, Any]]] = []
    may_return = threading.Event()

    def callback(context: dict[str, Any], future: CommandFuture) -> None:
        heard.append((context, dict(future.result())))
        assert may_return.wait(10)

    app = build()
    Shell2HTTP(app).register_command("echo", "echo", callback_fn=callback)

    async with asking(app) as client:
        started = (await client.post("/echo", json={"args": ["x"], "callback_context": {"a": 1}})).json()

        async def is_heard() -> bool:
            return bool(heard)

        await becomes_true(is_heard, "the callback")
        during = (await client.get(started["result_url"])).json()
        may_return.set()
        report = (await client.get("/echo", params={"key": started["key"], "wait": "true"})).json()

    assert during["status"] == "running"
    assert heard == [({"a": 1}, report)]


async def test_a_callback_may_be_async_and_wait() -> None:
    heard = []

    async def callback(context: dict[str, Any], future: CommandFuture) -> None:
        await asyncio.sleep(0)
        heard.append((future.done(), future.running(), future.cancelled(), future.exception()))

    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo", callback)

    async with asking(app) as client:
        await run(client, "/echo")

    assert heard == [(True, False, False, None)]


def _replace(future: CommandFuture) -> None:
    future._result = {"report": "replaced"}


def _set(future: CommandFuture) -> None:
    future.set_result({"report": "replaced"})


def _change(future: CommandFuture) -> None:
    future.result()["report"] = "replaced"


@pytest.mark.parametrize("replace", [_replace, _set, _change])
async def test_a_callback_may_replace_the_report(replace: Callable[[CommandFuture], None]) -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo", lambda context, future: replace(future))

    async with asking(app) as client:
        assert (await run(client, "/echo"))["report"] == "replaced"


def _raise(future: CommandFuture) -> None:
    raise ValueError("of the callback")


def _exit(future: CommandFuture) -> None:
    sys.exit(1)


def _interrupt(future: CommandFuture) -> None:
    raise KeyboardInterrupt


async def _await_what_is_cancelled(future: CommandFuture) -> None:
    other = asyncio.ensure_future(asyncio.Event().wait())
    other.cancel()
    await other


def _set_no_json(future: CommandFuture) -> None:
    future.set_result({"report": object()})


def _set_a_list(future: CommandFuture) -> None:
    future.set_result([1])  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [_raise, _exit, _interrupt, _await_what_is_cancelled, _set_no_json, _set_a_list])
async def test_a_callback_that_fails_changes_nothing_and_is_logged(
    end: Callable[[CommandFuture], object], caplog: pytest.LogCaptureFixture
) -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo", lambda context, future: end(future))

    async with asking(app) as client:
        assert (await run(client, "/echo", args=["x"]))["report"] == "x\n"
    assert "callback failed" in caplog.text


async def test_a_callback_hears_of_a_command_that_could_not_start() -> None:
    heard: list[object] = []
    app = Starlette()
    Shell2HTTP(app).register_command("x", "/nowhere/x", lambda context, future: heard.append(future.exception()))

    async with asking(app) as client:
        await run(client, "/x")

    assert isinstance(heard[0], OSError)
