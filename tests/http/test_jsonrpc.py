"""JSON-RPC 2.0 on the functions of a weeRPC route: the specification's own examples, and what it leaves open."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from rpc_serving import JSON, LOGGED_IN, WeeClient, build_app, serve_app
from starlette.applications import Starlette

from ws_subprocess.rpc import RPC, RPCResponse

INVALID = {"jsonrpc": "2.0", "error": {"code": -32600, "message": "Invalid Request"}, "id": None}
PARSE_ERROR = {"jsonrpc": "2.0", "error": {"code": -32700, "message": "Parse error"}, "id": None}


class Functions:
    """Functions, and what they were given."""

    def __init__(self) -> None:
        self.given: list[Any] = []

    def subtract(self, data: Any) -> Any:
        self.given.append(data)
        first, second = (data["minuend"], data["subtrahend"]) if isinstance(data, dict) else data
        return RPCResponse.success(first - second)

    def note(self, data: Any) -> Any:
        self.given.append(data)
        return True


@asynccontextmanager
async def serving(functions: Functions | None = None, **options: Any) -> AsyncIterator[WeeClient]:
    found = functions or Functions()
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc", **options)
    rpc.functions(subtract=found.subtract, note=found.note)
    rpc.functions(fail=lambda _: RPCResponse.fail("sorry", {"left": 0}), broken=lambda _: 1 / 0)
    rpc.functions(session_auth__=LOGGED_IN, closed=found.note)
    try:
        async with serve_app(app) as client:
            yield client
    finally:
        rpc.close()


def ask(method: Any, call_id: Any = 1, **rest: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "id": call_id, **rest}


@pytest.mark.parametrize("params", [[42, 23], {"subtrahend": 23, "minuend": 42}])
async def test_a_call_is_answered_with_its_result_and_id(params: Any) -> None:
    async with serving() as client:
        assert await client.send(ask("subtract", 3, params=params)) == {"jsonrpc": "2.0", "result": 19, "id": 3}


@pytest.mark.parametrize("value", [0, False, "", [], {}, 0.0])
async def test_falsy_results_and_error_data_survive(value: Any) -> None:
    app = build_app()
    rpc = RPC(app, url_prefix="/rpc")
    rpc.functions(good=lambda _: RPCResponse.success(value), bad=lambda _: RPCResponse.fail("sorry", value))
    async with serve_app(app) as client:
        good, bad = await client.send(ask("good")), await client.send(ask("bad"))
    rpc.close()

    assert good == {"jsonrpc": "2.0", "result": value, "id": 1}
    assert (bad["error"]["message"], bad["error"]["data"]) == ("sorry", value)


@pytest.mark.parametrize("call_id", [0, -1, 1.5, "", "a", None, 2**70])
async def test_an_id_comes_back_as_it_was_sent(call_id: Any) -> None:
    async with serving() as client:
        assert (await client.send(ask("note", call_id)))["id"] == call_id


async def test_a_notification_runs_and_is_not_answered() -> None:
    functions = Functions()
    async with serving(functions) as client:
        response = await client.post(b'{"jsonrpc": "2.0", "method": "note", "params": [1]}')

    assert (response.status_code, response.content) == (204, b"")
    assert functions.given == [[1]]


async def test_without_params_a_function_gets_null() -> None:
    functions = Functions()
    async with serving(functions) as client:
        await client.send(ask("note"))

    assert functions.given == [None]


async def test_a_method_that_does_not_exist_is_not_found() -> None:
    app = Starlette()
    rpc = RPC(app, url_prefix="/rpc", functions={"note": Functions().note})
    async with serve_app(app) as client:
        answer = await client.send(ask("foobar", "1"))

    assert answer == {"jsonrpc": "2.0", "error": {"code": -32601, "message": "Method not found"}, "id": "1"}
    rpc.close()


async def test_a_method_that_does_not_exist_looks_like_one_that_is_not_for_this_caller() -> None:
    async with serving() as client:
        answers = [await client.send(ask(name)) for name in ("closed", "foobar", "__class__")]

    assert answers[0]["error"] == {"code": -32001, "message": "Unauthorized."}
    assert answers[0] == answers[1] == answers[2]


async def test_whom_nothing_is_for_is_refused_everything() -> None:
    functions = Functions()
    async with serving(functions, session_auth=LOGGED_IN) as client:
        assert (await client.send(ask("note")))["error"]["code"] == -32001

    assert functions.given == []


async def test_a_failure_is_an_error_with_the_functions_words() -> None:
    async with serving() as client:
        answer = await client.send(ask("fail"))

    assert answer["error"] == {"code": -32000, "message": "sorry", "data": {"left": 0}}


async def test_what_a_function_raises_is_an_internal_error_without_its_words() -> None:
    async with serving() as client:
        assert (await client.send(ask("broken")))["error"] == {"code": -32603, "message": "Internal error"}


@pytest.mark.parametrize(
    "value",
    [
        {"jsonrpc": "2.0", "method": 1, "params": "bar"},
        {"jsonrpc": "2.0", "id": 1},
        ask("note", params="bar"),
        ask("note", params=None),
        ask("note", True),
        ask("note", [1]),
        {**ask("note"), "jsonrpc": "1.1"},
        {**ask("note"), "jsonrpc": 2.0},
    ],
)
async def test_what_is_no_call_is_an_invalid_request(value: Any) -> None:
    async with serving() as client:
        assert await client.send(value) == INVALID


async def test_an_infinite_id_is_an_invalid_request() -> None:
    async with serving() as client:
        response = await client.post(b'{"jsonrpc": "2.0", "method": "note", "id": 1e999}')

    assert response.json() == INVALID


@pytest.mark.parametrize("body", [b'{"jsonrpc": "2.0", "method": "foobar, "params": "bar"]', b'[{"jsonrpc": "2.0"},'])
async def test_what_is_no_json_is_a_parse_error(body: bytes) -> None:
    async with serving() as client:
        response = await client.post(body)

    assert (response.status_code, response.json()) == (200, PARSE_ERROR)


async def test_a_batch_is_answered_in_one_array_without_its_notifications() -> None:
    """The specification's example; the parts that are no calls are answered one by one."""
    batch = [
        ask("subtract", "1", params=[42, 23]),
        {"jsonrpc": "2.0", "method": "note", "params": [7]},
        {"foo": "boo"},
        ask("fail", "5"),
        1,
        [ask("note")],
    ]
    async with serving() as client:
        answers = await client.send(batch)

    assert [answer["id"] for answer in answers] == ["1", None, "5", None, None]
    assert answers[0]["result"] == 19
    assert [answers[1], answers[3], answers[4]] == [INVALID] * 3


async def test_a_batch_of_notifications_is_not_answered() -> None:
    async with serving() as client:
        response = await client.post(json.dumps([{"jsonrpc": "2.0", "method": "note"}] * 2))

    assert (response.status_code, response.content) == (204, b"")


async def test_the_calls_of_a_batch_run_one_after_the_other() -> None:
    functions = Functions()
    async with serving(functions) as client:
        await client.send([ask("note", number, params=[number]) for number in range(50)])

    assert functions.given == [[number] for number in range(50)]


async def test_a_batch_has_a_bound_and_beyond_it_nothing_runs() -> None:
    functions = Functions()
    async with serving(functions) as client:
        response = await client.post(json.dumps([ask("note")] * 51), JSON | {"Accept": "application/json"})

    assert (response.status_code, response.json()["code"]) == (413, "too_big")
    assert functions.given == []


async def test_a_million_calls_are_too_big_to_be_read() -> None:
    async with serving() as client:
        response = await client.post("[" + "1," * 1_000_000 + "1]")

    assert response.status_code == 413


async def test_an_empty_array_is_answered_as_weerpc_always_did() -> None:
    async with serving() as client:
        assert await client.tell([]) == "Request must not be empty."


async def test_what_comes_after_the_deadline_of_its_batch_never_begins() -> None:
    begun = []

    async def nap(data: Any) -> Any:
        begun.append(data)
        await asyncio.sleep(1000)

    app = Starlette()
    rpc = RPC(app, url_prefix="/rpc", functions={"nap": nap}, timeout_s=0.05)
    try:
        async with serve_app(app) as client:
            answers = await client.send([ask("nap", number, params=[number]) for number in range(3)])
    finally:
        rpc.close()

    assert begun == [[0]]
    assert [answer["error"]["code"] for answer in answers] == [-32002] * 3


async def test_one_deadline_holds_for_a_whole_batch() -> None:
    async def nap(data: Any) -> Any:
        await asyncio.sleep(data[0])
        return True

    app = Starlette()
    rpc = RPC(app, url_prefix="/rpc", functions={"nap": nap}, timeout_s=0.2)
    async with serve_app(app) as client:
        answers = await client.send([ask("nap", 1, params=[0]), ask("nap", 2, params=[60]), ask("nap", 3, params=[0])])

    assert answers[0]["result"] is True
    assert [answer["error"]["code"] for answer in answers[1:]] == [-32002, -32002]
    rpc.close()
