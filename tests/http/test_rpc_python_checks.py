"""The order in which `ws_subprocess.rpc` checks requests, and its words: Flask-RPC's, in both versions."""

from typing import Any

import pytest
from rpc_serving import LOGGED_IN, build_app, serving

from ws_subprocess.rpc import RPC, RPCRequest


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
