"""The door `/rpc`: who may call, what it answers, and the real program behind it."""

import hashlib
import json
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import pytest
from daemon_process import WAIT_S, launch
from http_daemon import HttpDaemon
from observing import is_alive
from rpc_asking import bearer, read

from ws_subprocess.rpc import RPCRequest

Start = Callable[..., Awaitable[HttpDaemon]]
PROBLEM = {"Accept": "application/json", "Content-Type": "application/json"}


async def test_the_door_is_closed_until_it_is_configured(start_http: Start) -> None:
    daemon = await start_http()

    assert (await daemon.client.post("/rpc", json={})).status_code == 404


@pytest.mark.parametrize("path", ["/rpc", "/rpc/1.0"])
async def test_without_a_token_nothing_is_called(rpc: HttpDaemon, path: str) -> None:
    response = await rpc.client.post(path, json={}, headers={"Authorization": "Basic eA==", **PROBLEM})

    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert rpc.questions == []


async def test_a_token_in_the_query_is_none(rpc: HttpDaemon) -> None:
    response = await rpc.client.post("/rpc?token=t0ken", json={}, headers={"Authorization": "Basic eA=="})

    assert response.status_code == 401


@pytest.mark.parametrize("headers", [{"Host": "rebound.example"}, {"Origin": "https://evil.example"}])
async def test_a_foreign_host_or_origin_is_refused_first(rpc: HttpDaemon, headers: dict[str, str]) -> None:
    body = {"weerpc": 1.1, "function": "list", "data": None}
    response = await rpc.client.post("/rpc", json=body, headers=headers)

    assert response.status_code == 403


async def test_a_form_of_another_site_calls_nothing(rpc: HttpDaemon) -> None:
    body = json.dumps({"weerpc": 1.1, "function": "start", "data": {"command": "/bin/true"}})
    response = await rpc.client.post("/rpc", content=body, headers={"Content-Type": "text/plain"})

    assert response.json()["message"] == "Request must be JSON."
    assert rpc.questions == []


async def test_other_methods_are_told_what_is_allowed(rpc: HttpDaemon) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        response = await rpc.client.request(method, "/rpc")

        assert (response.status_code, response.headers["allow"]) == (405, "POST"), method


async def test_a_body_beyond_the_bound_is_refused(start_http: Start) -> None:
    daemon = await start_http(rpc_door=True, max_body_bytes=1024)
    response = await daemon.client.post("/rpc", content=b"x" * 2000, headers=PROBLEM)

    assert (response.status_code, response.json()["code"]) == (413, "too_big")


async def test_a_compressed_body_is_refused(rpc: HttpDaemon) -> None:
    response = await rpc.client.post("/rpc", content=b"x", headers={"Content-Encoding": "gzip", **PROBLEM})

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_encoding")


async def test_the_older_version_has_its_route(rpc: HttpDaemon) -> None:
    response = await rpc.client.post("/rpc/1.0", json={"wrpc": 1, "function": "list", "data": None})

    assert response.json() == {"wrpc": 1.0, "ok": True, "message": None, "data": {"sessions": []}}


async def test_the_same_functions_speak_json_rpc(rpc: HttpDaemon) -> None:
    response = await rpc.client.post("/rpc", json={"jsonrpc": "2.0", "method": "list", "id": 7})

    assert response.json() == {"jsonrpc": "2.0", "result": {"sessions": []}, "id": 7}


async def test_the_real_program_serves_the_door_and_ends_its_sessions_with_itself(tmp_path: Path) -> None:
    token = "t0ken" * 8
    token_hash = hashlib.sha256(token.encode()).hexdigest()
    command = "command = '/bin/sh'\nargs = ['-c', 'echo $$; exec sleep 1000']\ntty = false\n"
    tokens = tmp_path / "tokens.toml"
    tokens.write_text(f"[[token]]\nname = 'rpc'\nhash = 'sha256:{token_hash}'\ndoors = ['rpc']\n{command}")
    flags = ("--listen", "127.0.0.1:0", "--tokens-file", str(tokens), "--rpc-door", "--drain-timeout", "0s")
    process = launch(tmp_path / "daemon", "serve", *flags, "--state-dir", str(tmp_path / "state"))
    try:
        await process.ready()
        async with httpx.AsyncClient(trust_env=False, headers=bearer(token), timeout=WAIT_S) as client:
            url = process.url + "/rpc"
            started = (await client.post(url, json=RPCRequest.build("start"))).json()["data"]
            wanted = {"session": started["session"], "timeout_s": 10}
            output = (await client.post(url, json=RPCRequest.build("output", wanted))).json()["data"]
        pid = int(read(output))
        assert is_alive(pid)

        process.send(signal.SIGTERM)

        assert await process.ended() == 0
        assert not is_alive(pid)
    finally:
        await process.end()
