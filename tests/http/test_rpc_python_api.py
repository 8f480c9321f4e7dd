"""`ws_subprocess.rpc` as an application uses it: Flask-RPC's API as it is documented."""

import pytest
from rpc_serving import WeeClient, add_numbers, build_app, serve_app, serving
from starlette.applications import Starlette
from starlette.routing import Mount, Router

from ws_subprocess.rpc import RPC, RPCModel, RPCRequest, RPCResponse


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
