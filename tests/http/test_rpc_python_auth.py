"""Who may call functions of `ws_subprocess.rpc`: signed sessions, hosts, origins, for all functions or some."""

import pytest
from rpc_serving import LOGGED_IN, WeeClient, add_numbers, build_app, log_in, logged, serve_app, serving
from starlette.applications import Starlette

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.rpc import RPC, RPCAuthSessionKey, RPCRequest


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
