"""`ws_subprocess.rpc` as an application uses it: Flask-RPC's API, its documented answers in their order, its faults."""

import asyncio
import logging
import sys
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
from observing import until
from rpc_serving import JSON, WeeClient, serve_app
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.routing import Mount, Router

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.rpc import RPC, RPCAuthSessionKey, RPCModel, RPCRequest, RPCResponse, current_request

LOGGED_IN = RPCAuthSessionKey("logged_in", [True])
SECRET = "s3cret in the exception"


def add_numbers(data: Any) -> Any:
    """The function of the readme."""
    if isinstance(data, list):
        return RPCResponse.success(sum(data), "Function 'add_numbers' executed successfully")
    return None


def log_in(data: Any) -> Any:
    current_request().session.update(data)
    return RPCResponse.success()


def build_app() -> Starlette:
    return Starlette(middleware=[Middleware(SessionMiddleware, secret_key="only for tests")])


@asynccontextmanager
async def serving(*, path: str = "/rpc", **options: Any) -> AsyncIterator[WeeClient]:
    """Serve `RPC` with these options, `add_numbers` if no functions are given."""
    app = build_app()
    rpc = RPC(app, **{"url_prefix": path, "functions": {"add_numbers": add_numbers}, **options})
    try:
        async with serve_app(app, path) as client:
            yield client
    finally:
        rpc.close()


@contextmanager
def logged(level: int = logging.WARNING) -> Iterator[list[logging.LogRecord]]:
    """Collect what the package logs meanwhile."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(level)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("ws_subprocess")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)


# What the documents say.


async def test_the_example_of_the_readme_works() -> None:
    async with serving() as client:
        answer = await client.send(RPCRequest.build(function="add_numbers", data=[1, 2, 3]))

    told = "Function 'add_numbers' executed successfully"
    assert answer == {"weerpc": 1.1, "ok": True, "message": told, "data": 6}


async def test_functions_can_be_added_later_by_names_of_their_own() -> None:
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc")
    rpc.functions(subtract=lambda data: RPCResponse.success(data[0] - data[1]))
    rpc.functions_auto_name([add_numbers])

    async with serve_app(app) as client:
        assert (await client.call("subtract", [3, 1]))["data"] == 2
        assert (await client.call("add_numbers", [3, 1]))["data"] == 4
    rpc.close()


async def test_a_router_takes_functions_as_a_blueprint_did() -> None:
    router = Router()
    rpc = RPC(router, url_prefix="rpc", functions={"add_numbers": add_numbers})

    async with serve_app(Starlette(routes=[Mount("/api", router)]), "/api/rpc") as client:
        assert (await client.call("add_numbers", [1]))["data"] == 1
    rpc.close()


async def test_two_doors_at_slash_and_rpc_stand_side_by_side() -> None:
    """Flask-RPC gave both one endpoint's name, and raised AssertionError."""
    app = build_app()
    first = RPC(app, functions={"where": lambda _: "first"})
    second = RPC(app, url_prefix="/rpc", functions={"where": lambda _: "second"})

    async with serve_app(app) as client:
        assert (await client.call("where"))["data"] == "second"
        assert (await WeeClient(client.http, "/").call("where"))["data"] == "first"
    first.close()
    second.close()


def test_what_cannot_be_called_is_refused_when_it_is_named() -> None:
    rpc = RPC(build_app())

    with pytest.raises(TypeError, match="Expected a callable, got <class 'int'>"):
        rpc.functions(three=3)
    with pytest.raises(TypeError, match="Expected a callable, got <class 'int'>"):
        rpc.functions_auto_name([3])  # type: ignore[list-item]


def test_a_name_is_given_once() -> None:
    rpc = RPC(build_app(), functions={"add_numbers": add_numbers})

    with pytest.raises(ValueError, match="Function add_numbers already exists"):
        rpc.functions(add_numbers=add_numbers)
    with pytest.raises(ValueError, match="Function add_numbers already exists"):
        rpc.functions_auto_name([add_numbers])


def test_what_takes_no_routes_is_no_application() -> None:
    with pytest.raises(TypeError, match="Expected a Starlette application or a router"):
        RPC(object())  # type: ignore[arg-type]


def test_functions_in_the_place_of_the_prefix_are_a_plain_error() -> None:
    with pytest.raises(TypeError, match="functions go into functions="):
        RPC(build_app(), {"add_numbers": add_numbers})  # type: ignore[arg-type]


def test_requests_and_models_have_the_form_of_the_version() -> None:
    assert RPCRequest.build("f") == {"weerpc": 1.1, "function": "f", "data": None}
    assert RPCRequest.build("f", [1], version=1.0) == {"wrpc": 1.0, "function": "f", "data": [1]}
    assert RPCModel(**RPCRequest.build("f", 0)) == RPCModel(weerpc=1.1, function="f", data=0)


async def test_the_methods_but_post_are_not_allowed() -> None:
    async with serving() as client:
        for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
            response = await client.http.request(method, "/rpc")

            assert (response.status_code, response.headers["allow"]) == (405, "POST"), method


# The order of the checks, and their words.


async def test_without_functions_everything_else_is_left_unlooked_at() -> None:
    async with serving(functions={}, session_auth=LOGGED_IN) as client:
        assert await client.tell([]) == "No functions registered."


async def test_the_global_session_comes_before_the_global_host() -> None:
    async with serving(session_auth=LOGGED_IN, host_auth=["elsewhere"]) as client:
        assert await client.tell(None) == "Unauthorized."


async def test_the_global_host_comes_before_the_content_type() -> None:
    async with serving(host_auth=["elsewhere"]) as client:
        response = await client.post(b"x=1", {"Content-Type": "application/x-www-form-urlencoded"})

        assert response.json()["message"] == f"Unauthorized ({client.http.base_url.netloc.decode()})"


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
async def test_a_body_that_does_not_claim_to_be_json_calls_nothing(kind: str) -> None:
    called: list[Any] = []
    async with serving(functions={"call": called.append}) as client:
        body = b'{"weerpc": 1.1, "function": "call", "data": 1}'
        response = await client.post(body, {"Content-Type": kind} if kind else {})

    assert (response.status_code, response.json()["message"]) == (200, "Request must be JSON.")
    assert called == []


async def test_other_json_types_are_json_too() -> None:
    async with serving() as client:
        body = b'{"weerpc": 1.1, "function": "add_numbers", "data": [1]}'
        response = await client.post(body, {"Content-Type": "application/vnd.api+json; charset=utf-8"})

    assert response.json()["data"] == 1


@pytest.mark.parametrize("body", [b"", b"{", b'{"a": 1, "a": 2}', b"NaN", b"\xff", b"[" * 100_000])
async def test_bad_json_stays_in_the_envelope(body: bytes) -> None:
    """Flask-RPC answered 400 with a page."""
    async with serving() as client:
        response = await client.post(body)

    assert response.status_code == 200
    assert response.json() == {"weerpc": 1.1, "ok": False, "message": "Request must be valid JSON.", "data": None}


@pytest.mark.parametrize("value", [{}, [], None, 0, "", False])
async def test_an_empty_request_is_told_so(value: Any) -> None:
    async with serving() as client:
        assert await client.tell(value) == "Request must not be empty."


@pytest.mark.parametrize("value", ["text", 1.1, True])
async def test_what_is_no_object_stays_in_the_envelope(value: Any) -> None:
    """Flask-RPC answered 500 with a page."""
    async with serving() as client:
        assert await client.tell(value) == "Invalid request."


@pytest.mark.parametrize("value", [{"weerpc": number} for number in ("1.1", 1.0, 1, 2.0, True, None)] + [{"wrpc": 1}])
async def test_another_version_is_refused_before_the_rest_is_looked_at(value: dict[str, Any]) -> None:
    async with serving() as client:
        assert await client.tell(value) == "Invalid weerpc version."


@pytest.mark.parametrize(
    "rest", [{"data": 1}, {"function": 1, "data": 1}, {"function": None, "data": 1}, {"function": "add_numbers"}]
)
async def test_a_missing_or_mistyped_field_is_an_invalid_request(rest: dict[str, Any]) -> None:
    async with serving() as client:
        assert await client.tell({"weerpc": 1.1, **rest}) == "Invalid request."


@pytest.mark.parametrize("name", ["nothing", "__class__", "__init__", "_table", "functions", ""])
async def test_only_registered_names_are_functions(name: str) -> None:
    async with serving() as client:
        assert await client.tell(RPCRequest.build(name)) == "Invalid function."


async def test_keys_that_are_not_needed_are_ignored() -> None:
    async with serving() as client:
        answer = await client.send({**RPCRequest.build("add_numbers", [2]), "id": 5, "extra": {}})

    assert answer["data"] == 2


async def test_a_function_that_returns_nothing_was_not_successful() -> None:
    async with serving() as client:
        assert await client.tell(RPCRequest.build("add_numbers", "no list")) == "Unsuccessful command execution."


@pytest.mark.parametrize("value", [False, 0, "", [], {}])
async def test_a_function_that_returns_something_false_was_not_successful(value: Any) -> None:
    async with serving(functions={"f": lambda _: value}) as client:
        assert await client.tell(RPCRequest.build("f")) == "Unsuccessful command execution."


@pytest.mark.parametrize("value", [5, "text", [1], {"a": 1}, True])
async def test_a_plain_value_is_the_data_of_a_success(value: Any) -> None:
    """Flask-RPC took such values for a whole HTTP response, or raised."""
    async with serving(functions={"f": lambda _: value}) as client:
        assert await client.call("f") == {"weerpc": 1.1, "ok": True, "message": None, "data": value}


# Versions.


async def test_an_answer_has_the_version_of_its_route() -> None:
    """Flask-RPC answered with 1.0 on the route of 1.1."""
    async with serving() as client:
        for value in (RPCRequest.build("add_numbers", [1]), RPCRequest.build("nothing"), {}):
            answer = await client.send(value)

            assert answer["weerpc"] == 1.1
            assert "wrpc" not in answer


@pytest.mark.parametrize("number", [1, 1.0])
async def test_version_1_0_has_a_route_of_its_own_and_takes_the_integer_of_javascript(number: float) -> None:
    async with serving(version=1.0) as client:
        answer = await client.send({"wrpc": number, "function": "add_numbers", "data": [1]})

        assert (answer["wrpc"], answer["ok"], answer["data"]) == (1.0, True, 1)
        assert "weerpc" not in answer
        assert (await client.send({"weerpc": 1.1, "function": "add_numbers", "data": []}))["message"] == (
            "Invalid wrpc version."
        )


def test_a_version_that_nobody_speaks_is_refused() -> None:
    with pytest.raises(ValueError, match=r"not 1\.0 or 1\.1"):
        RPC(build_app(), version=1.2)


# Sessions and hosts.


async def test_a_session_that_a_function_has_written_lets_its_client_in() -> None:
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc", session_auth=[LOGGED_IN, RPCAuthSessionKey("user_type", ["admin", "owner"])])
    rpc.functions(add_numbers=add_numbers)
    entry = RPC(app, url_prefix="/login", functions={"log_in": log_in})

    async with serve_app(app) as client:
        await WeeClient(client.http, "/login").call("log_in", {"logged_in": True, "user_type": "guest"})
        assert (await client.call("add_numbers", [1]))["message"] == "Unauthorized."

        await WeeClient(client.http, "/login").call("log_in", {"user_type": "admin"})
        assert (await client.call("add_numbers", [1]))["data"] == 1
    rpc.close()
    entry.close()


async def test_a_forged_cookie_lets_nobody_in() -> None:
    async with serving(session_auth=LOGGED_IN) as client:
        client.http.cookies.set("session", "eyJsb2dnZWRfaW4iOiB0cnVlfQ==.aaaa.bbbb")

        assert (await client.call("add_numbers", [1]))["message"] == "Unauthorized."


async def test_session_auth_without_sessions_lets_nobody_in_and_says_why_in_the_log() -> None:
    app = Starlette()
    rpc = RPC(app, url_prefix="/rpc", session_auth=LOGGED_IN, functions={"add_numbers": add_numbers})

    with logged() as records:
        async with serve_app(app) as client:
            assert (await client.call("add_numbers", [1]))["message"] == "Unauthorized."

    assert any("no SessionMiddleware" in record.getMessage() for record in records)
    rpc.close()


async def test_a_scoped_session_is_asked_for_its_functions_alone() -> None:
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc", functions={"log_in": log_in, "open": add_numbers})
    rpc.functions(session_auth__=LOGGED_IN, closed=add_numbers)

    async with serve_app(app) as client:
        assert (await client.call("open", [1]))["ok"] is True
        assert (await client.call("closed", [1]))["message"] == "Unauthorized."
        await client.call("log_in", {"logged_in": True})
        assert (await client.call("closed", [1]))["ok"] is True
    rpc.close()


async def test_the_names_without_underscores_of_the_readme_are_taken_too() -> None:
    """Flask-RPC raised TypeError at its own readme."""
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc")
    rpc.functions(host_auth=["elsewhere:5000"], far=add_numbers)
    rpc.functions(session_auth=LOGGED_IN, closed=add_numbers)

    async with serve_app(app) as client:
        host = client.http.base_url.netloc.decode()
        assert (await client.call("far", [1]))["message"] == f"Unauthorized ({host})"
        assert (await client.call("far", [1], host="elsewhere:5000"))["data"] == 1
    rpc.close()


async def test_a_function_may_be_called_host_auth() -> None:
    async with serving(functions={}) as client:
        assert await client.tell(RPCRequest.build("host_auth")) == "No functions registered."
    async with serving(functions={"host_auth": add_numbers}) as client:
        assert (await client.call("host_auth", [1]))["data"] == 1


async def test_a_host_is_compared_without_the_port_that_its_scheme_has_anyway() -> None:
    async with serving(host_auth=["app.example"]) as client:
        assert (await client.call("add_numbers", [1], host="app.example:80"))["data"] == 1
        assert (await client.call("add_numbers", [1], host="app.example:81"))["ok"] is False


async def test_a_name_that_does_not_exist_looks_like_one_that_is_not_for_this_caller() -> None:
    """Flask-RPC looked the name up before it asked for the session, so that names could be told apart."""
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc", functions={"open": add_numbers, "log_in": log_in})
    rpc.functions(session_auth__=LOGGED_IN, closed=add_numbers)
    rpc.functions(host_auth__=["elsewhere"], far=add_numbers)

    async with serve_app(app) as client:
        answers = [await client.call(name, [1]) for name in ("closed", "far", "nothing")]
        assert answers[0] == answers[1] == answers[2]

        await client.call("log_in", {"logged_in": True})
        assert await client.call("far", [1]) == await client.call("nothing", [1])
        assert (await client.call("nothing", [1], host="elsewhere"))["message"] == "Invalid function."
    rpc.close()


async def test_a_forged_host_meets_the_policy_before_host_auth() -> None:
    """Flask-RPC took the Host header's word for who a client is."""
    policy = OriginPolicy((), ())
    async with serving(host_auth=["forged.example"], policy=policy) as client:
        response = await client.http.post(
            "/rpc", json=RPCRequest.build("add_numbers", [1]), headers={"Host": "forged.example"}
        )

    assert response.status_code == 403
    assert response.text == "Host not allowed"


async def test_a_page_of_another_origin_meets_the_policy() -> None:
    async with serving(policy=OriginPolicy((), ())) as client:
        response = await client.http.post(
            "/rpc", json=RPCRequest.build("add_numbers", [1]), headers={"Origin": "https://evil.example"}
        )

    assert response.status_code == 403


def test_a_host_alone_is_no_list_of_hosts() -> None:
    with pytest.raises(TypeError, match="expected a list of hosts"):
        RPC(build_app(), host_auth="app.example")


def test_something_else_than_a_key_is_no_session_auth() -> None:
    with pytest.raises(TypeError, match="expected RPCAuthSessionKey"):
        RPC(build_app(), session_auth=["logged_in"])  # type: ignore[list-item]


# What functions do.


@pytest.mark.parametrize("value", [0, False, "", [], {}, 0.0])
async def test_falsy_data_survives(value: Any) -> None:
    """Flask-RPC turned it into null."""
    functions = {
        "good": lambda _: RPCResponse.success(value, ""),
        "bad": lambda _: RPCResponse.fail("sorry", value),
    }
    async with serving(functions=functions) as client:
        assert await client.call("good") == {"weerpc": 1.1, "ok": True, "message": "", "data": value}
        assert await client.call("bad") == {"weerpc": 1.1, "ok": False, "message": "sorry", "data": value}


def raise_error(data: Any) -> Any:
    raise ValueError(SECRET)


def leave(data: Any) -> Any:
    sys.exit(SECRET)


async def raise_on_loop(data: Any) -> Any:
    raise ValueError(SECRET)


async def time_out(data: Any) -> Any:
    raise TimeoutError(SECRET)


@pytest.mark.parametrize("function", [raise_error, leave, raise_on_loop, time_out])
async def test_what_a_function_raises_is_logged_and_stays_in_the_envelope(function: Any) -> None:
    """Flask-RPC answered 500 with a page."""
    with logged() as records:
        async with serving(functions={"f": function}) as client:
            response = await client.post(b'{"weerpc": 1.1, "function": "f", "data": 1}')

    assert response.status_code == 200
    assert response.json() == {"weerpc": 1.1, "ok": False, "message": "Internal error.", "data": None}
    assert SECRET not in response.text
    (record,) = [record for record in records if record.exc_info]
    assert SECRET in str(record.exc_info[1])


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), RPCResponse.success(b"bytes")])
async def test_what_is_no_json_stays_in_the_envelope(value: Any) -> None:
    async with serving(functions={"f": lambda _: value}) as client:
        assert await client.tell(RPCRequest.build("f")) == "Internal error."


async def test_a_function_that_blocks_runs_beside_the_loop() -> None:
    threads: list[threading.Thread] = []
    held, free = threading.Event(), threading.Event()

    def block(data: Any) -> Any:
        threads.append(threading.current_thread())
        held.set()
        return free.wait(10)

    async with serving(functions={"block": block, "add_numbers": add_numbers}) as client:
        blocked = asyncio.ensure_future(client.call("block"))
        await until(held.is_set, "the function began")
        assert (await client.call("add_numbers", [1]))["data"] == 1
        free.set()
        assert (await blocked)["data"] is True

    assert threads[0] is not threading.main_thread()


async def test_an_async_function_runs_on_the_loop() -> None:
    async def which(data: Any) -> Any:
        await asyncio.sleep(0)
        return threading.current_thread() is threading.main_thread()

    async with serving(functions={"which": which}) as client:
        assert (await client.call("which"))["data"] is True


async def test_a_function_that_returns_something_to_await_is_awaited() -> None:
    async def add(data: Any) -> Any:
        return sum(data)

    async with serving(functions={"add": lambda data: add(data)}) as client:
        assert (await client.call("add", [1, 2]))["data"] == 3


async def test_a_function_has_its_time_and_no_more() -> None:
    async def wait_for_ever(data: Any) -> None:
        await asyncio.Event().wait()

    async with serving(functions={"wait": wait_for_ever}, timeout_s=0.05) as client:
        assert await client.tell(RPCRequest.build("wait")) == "The function took too long."


async def test_a_thread_is_taken_until_its_function_returns_and_what_waits_too_long_never_begins() -> None:
    begun: list[Any] = []
    free = threading.Event()

    def block(data: Any) -> Any:
        begun.append(data)
        return free.wait(10)

    async with serving(functions={"block": block}, timeout_s=0.1, max_threads=1) as client:
        assert await client.tell(RPCRequest.build("block", "first")) == "The function took too long."
        assert await client.tell(RPCRequest.build("block", "second")) == "The function took too long."
        free.set()
        assert (await client.call("block", "third"))["data"] is True

    assert begun == ["first", "third"]


async def test_a_function_goes_on_when_its_client_has_left() -> None:
    held, free, done = threading.Event(), threading.Event(), threading.Event()

    def work(data: Any) -> Any:
        held.set()
        free.wait(10)
        done.set()
        return "too late"

    async with serving(functions={"work": work, "add_numbers": add_numbers}) as client:
        leaving = asyncio.ensure_future(client.call("work"))
        await until(held.is_set, "the function began")
        leaving.cancel()
        await asyncio.wait((leaving,))
        free.set()
        await until(done.is_set, "the function ended")

        assert (await client.call("add_numbers", [1]))["data"] == 1


async def test_the_request_can_be_had_on_a_thread() -> None:
    async with serving(functions={"agent": lambda _: current_request().headers["user-agent"]}) as client:
        assert (await client.call("agent"))["data"] == client.http.headers["user-agent"]


def test_outside_of_a_function_there_is_no_request() -> None:
    with pytest.raises(LookupError):
        current_request()


async def test_a_body_beyond_its_bound_is_refused_by_its_declared_length() -> None:
    async with serving(max_body_bytes=1024) as client:
        response = await client.post(b"[" + b" " * 2000 + b"]", {**JSON, "Accept": "application/json"})

    assert response.status_code == 413
    assert response.json()["code"] == "too_big"


async def test_a_body_that_never_ends_is_given_up() -> None:
    head = b"POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n["
    async with serving(body_timeout_s=0.05) as client, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.http.base_url.port)
        writer.write(head)
        status = await reader.readline()
        writer.close()

    assert status.startswith(b"HTTP/1.1 408 ")
