"""Python code around commands: what it does not change stays whole, and what blocks keeps nobody else waiting."""

import logging
import threading
from typing import Any

import pytest
from embedding import asking, run
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ws_subprocess.doors.commands import Endpoint
from ws_subprocess.service.command_future import REPORT_MAX_BYTES, CommandFuture
from ws_subprocess.shell2http import Shell2HTTP


async def test_a_callback_that_changes_nothing_shortens_nothing() -> None:
    app, seen = Starlette(), []

    def look(context: dict[str, Any], future: CommandFuture) -> None:
        report = future.result()
        seen.append((len(report["report"]), report["truncated"]))

    Shell2HTTP(app).register_command("zeros", "head /dev/zero", look)
    size = REPORT_MAX_BYTES + 1000
    async with asking(app) as client:
        report = await run(client, "/zeros", args=["-c", str(size)])

    assert seen == [(REPORT_MAX_BYTES, True)]
    assert (len(report["report"]), report["truncated"]) == (size, False)


async def test_a_decorator_that_is_no_coroutine_runs_on_a_thread() -> None:
    app, threads = Starlette(), []

    def refuse(endpoint: Endpoint) -> Any:
        def refusing(request: Request) -> Response:
            threads.append(threading.current_thread())
            return PlainTextResponse("Not today.", 403)

        return refusing

    Shell2HTTP(app).register_command("echo", "echo", decorators=[refuse])
    async with asking(app) as client:
        assert (await client.post("/echo")).status_code == 403

    assert threads[0] is not threading.current_thread()


async def test_a_path_that_another_command_answers_is_taken(caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette()
    shell2http = Shell2HTTP(app)
    shell2http.register_command("echo", "echo")
    with caplog.at_level(logging.ERROR):
        shell2http.register_command("echo/output", "cat")

    async with asking(app) as client:
        key = (await client.post("/echo", json={"args": ["mine"]})).json()["key"]
        output = await client.get("/echo/output", params={"key": key, "wait": "true"})

    assert output.text == "mine\n"
    assert list(shell2http.get_registered_commands()) == ["/echo"]
    assert "endpoint is taken" in caplog.text
