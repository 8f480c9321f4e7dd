"""Commands that Python code registers: the API of Flask-Shell2HTTP on our application, and on anybody's."""

import functools
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from embedding import asking, run
from http_daemon import SERVERS
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from ws_subprocess.app import App, create_app
from ws_subprocess.auth.registered import RegisteredCommands
from ws_subprocess.config.settings import Settings
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest, Proposal
from ws_subprocess.process.environ import is_refused
from ws_subprocess.shell2http import Shell2HTTP


async def test_a_registered_command_is_served(build: Callable[[], App | Starlette]) -> None:
    app = build()
    shell2http = Shell2HTTP(app, "/cmd/")
    shell2http.register_command(endpoint="echo", command_name="echo -n")

    async with asking(app) as client:
        report = await run(client, "/cmd/echo", args=["Hello", "World!"])

    assert (report["report"], report["returncode"]) == ("Hello World!", 0)


async def test_keys_are_those_of_the_extension() -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo")

    async with asking(app) as client:
        report = await run(client, "/echo", args=["Hello", "World!"])

    assert report["key"] == "70c4af4f"


async def test_an_application_can_be_named_later() -> None:
    app, shell2http = Starlette(), Shell2HTTP(base_url_prefix="/cmd/")
    with pytest.raises(RuntimeError, match="init_app"):
        shell2http.register_command("echo", "echo")

    shell2http.init_app(app, executor=object())
    shell2http.register_command("echo", "echo")

    assert shell2http.app is app
    assert app.extensions["shell2http"] is shell2http  # type: ignore[attr-defined]
    async with asking(app) as client:
        assert (await run(client, "/cmd/echo", args=["x"]))["report"] == "x\n"


async def test_registered_commands_are_told_in_their_order(caplog: pytest.LogCaptureFixture) -> None:
    app = Starlette()
    shell2http = Shell2HTTP(app, "/cmd/")
    shell2http.register_command("b", "echo")
    shell2http.register_command("a/b", "ls -l")

    with caplog.at_level(logging.ERROR):
        shell2http.register_command("b", "rm")

    assert list(shell2http.get_registered_commands().items()) == [("/cmd/b", "echo"), ("/cmd/a/b", "ls -l")]
    assert "endpoint is taken" in caplog.text
    async with asking(app) as client:
        assert (await run(client, "/cmd/b", args=["x"]))["report"] == "x\n"


@pytest.mark.parametrize(("endpoint", "command"), [("with space", "echo"), ("ü", "echo"), ("x", ""), ("x", " echo")])
async def test_what_cannot_be_registered_is_refused(endpoint: str, command: str) -> None:
    app = Starlette()
    shell2http = Shell2HTTP(app)

    with pytest.raises(ValueError, match=r"is no path|begins with no"):
        shell2http.register_command(endpoint, command)

    async with asking(app):
        assert not shell2http.get_registered_commands()


async def test_two_applications_have_their_own_commands() -> None:
    # The extension kept them in its class: the second application silently lost its route.
    first, second = Starlette(), Starlette()
    Shell2HTTP(first).register_command("same", "echo first")
    Shell2HTTP(second).register_command("same", "echo second")

    async with asking(first) as one, asking(second) as two:
        assert (await run(one, "/same"))["report"] == "first\n"
        assert (await run(two, "/same"))["report"] == "second\n"


async def test_a_program_that_is_not_there_is_told_by_its_name() -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("x", "no-such-program")

    async with asking(app) as client:
        started = await client.post("/x", json={})
        report = await client.get("/x", params={"key": started.json()["key"], "wait": "true"})

    assert started.status_code == 202
    assert report.status_code == 400
    assert report.json()["error"] == "[Errno 2] No such file or directory: 'no-such-program'"


async def test_the_last_decorator_is_the_outermost() -> None:
    order: list[str] = []

    def note(name: str):
        def decorate(endpoint):
            @functools.wraps(endpoint)
            async def wrapped(request: Request) -> Response:
                order.append(name)
                return await endpoint(request)

            return wrapped

        return decorate

    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo", decorators=[note("first"), note("last")])

    async with asking(app) as client:
        await client.post("/echo")

    assert order == ["last", "first"]


@pytest.mark.parametrize(
    ("method", "end"),
    [("GET", ""), ("POST", ""), ("DELETE", ""), ("GET", "/output"), ("GET", "/jobs"), ("POST", "/input")],
)
async def test_a_decorator_guards_all_that_an_endpoint_has(method: str, end: str) -> None:
    def refuse(endpoint):
        # Not async: it runs on a thread.
        def refused(request: Request) -> Response:
            return PlainTextResponse("You are not logged in.", 401)

        return refused

    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo", decorators=[refuse])

    async with asking(app) as client:
        response = await client.request(method, f"/echo{end}")

    assert (response.status_code, response.text) == (401, "You are not logged in.")


async def test_a_decorator_that_is_not_async_may_pass_the_request_on() -> None:
    def pass_on(endpoint):
        return lambda request: endpoint(request)

    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo", decorators=[pass_on])

    async with asking(app) as client:
        assert (await run(client, "/echo", args=["x"]))["report"] == "x\n"


async def test_nothing_but_what_was_registered_runs() -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("always", "echo -n always")

    async with asking(app) as client:
        assert (await run(client, "/always", args=["and this"]))["report"] == "always and this"


@pytest.mark.parametrize(
    "proposal", [None, Proposal("/bin/sh"), Proposal("/bin/echo"), Proposal("/bin/echo", ("-e", "-n"))], ids=str
)
async def test_what_was_not_registered_is_not_granted(proposal: Proposal | None) -> None:
    authority = RegisteredCommands(is_refused)
    authority.add("/bin/echo", ("-n",))

    with pytest.raises(GateError) as caught:
        await authority.ask(Credentials(""), LaunchRequest("commands", "local", proposal=proposal))

    assert caught.value.code == "denied"


async def test_a_foreign_page_or_name_is_refused() -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("echo", "echo")

    async with asking(app) as client:
        page = await client.post("/echo", headers={"Origin": "https://evil.example"})
        name = await client.post("/echo", headers={"Host": "evil.example"})

    assert (page.json()["code"], name.json()["code"]) == ("origin_denied", "host_denied")


async def test_allowed_names_and_the_place_for_jobs_are_settings(tmp_path: Path) -> None:
    settings = Settings(allow_hosts=("api.example",), state_dir=str(tmp_path / "state"), max_body_bytes=1024)
    app = Starlette()
    Shell2HTTP(app, settings=settings).register_command("echo", "echo")

    async with asking(app) as client:
        started = await client.post("/echo", headers={"Host": "api.example"})
        big = await client.post("/echo", json={"args": ["x" * 2000]})

    assert (started.status_code, big.status_code) == (202, 413)
    assert (tmp_path / "state").is_dir()


def test_an_application_of_ours_has_its_own_settings(tmp_path: Path) -> None:
    app = create_app(Settings(state_dir=str(tmp_path / "state")))

    with pytest.raises(ValueError, match="create_app"):
        Shell2HTTP(app, settings=Settings())


async def test_the_hosts_own_lifespan_and_routes_go_on(tmp_path: Path) -> None:
    lived: list[str] = []

    @asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[dict[str, str]]:
        lived.append("began")
        yield {"said": "hello"}
        lived.append("ended")

    async def hello(request: Request) -> Response:
        return PlainTextResponse("hello")

    app = Starlette(routes=[Route("/hello", hello)], lifespan=lifespan)
    Shell2HTTP(app).register_command("echo", "echo")

    async with asking(app) as client:
        assert (await client.get("/hello")).text == "hello"
        assert (await run(client, "/echo"))["returncode"] == 0
    assert lived == ["began", "ended"]


async def test_jobs_that_run_are_ended_with_the_application() -> None:
    app = Starlette()
    Shell2HTTP(app).register_command("sleep", "sleep")

    # That no child is left is what every test here is held to.
    async with asking(app) as client:
        await client.post("/sleep", json={"args": ["1000"]})


@pytest.mark.parametrize("server", SERVERS)
async def test_registered_commands_are_served_over_real_connections(server: str, tmp_path: Path) -> None:
    settings = Settings(state_dir=str(tmp_path / "state"))
    app: Any = create_app(settings) if server == "ours" else Starlette()
    Shell2HTTP(app, "/cmd/").register_command("cat", "cat")

    async with SERVERS[server](app, settings) as serving, httpx.AsyncClient(trust_env=False) as client:
        report = await run(client, f"http://127.0.0.1:{serving.port}/cmd/cat", stdin="over the wire")

    assert report["report"] == "over the wire"


async def test_a_prefix_of_the_daemon_is_one_of_registered_commands_too(tmp_path: Path) -> None:
    app = create_app(Settings(state_dir=str(tmp_path / "state"), base_path="/tools"))
    Shell2HTTP(app, "/cmd/").register_command("echo", "echo")

    async with asking(app) as client:
        report = await run(client, "/tools/cmd/echo", args=["x"])

    assert report["report"] == "x\n"
