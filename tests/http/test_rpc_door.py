"""The daemon's own functions at `/rpc`, behind the gate, on both servers."""

import asyncio
import base64
import hashlib
import json
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_daemon import HttpDaemon
from observing import until

from ws_subprocess.rpc import RPCRequest
from ws_subprocess.service.held_sessions import Patience

Start = Callable[..., Awaitable[HttpDaemon]]
PROBLEM = {"Accept": "application/json", "Content-Type": "application/json"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def ask(daemon: HttpDaemon, function: str, data: Any = None, token: str = "t0ken") -> dict[str, Any]:
    """Call in weeRPC; return the whole answer."""
    body = {"weerpc": 1.1, "function": function, "data": data}
    headers = bearer(token) | {"Content-Type": "application/json"}
    response = await daemon.client.post("/rpc", content=json.dumps(body), headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def call(daemon: HttpDaemon, function: str, data: Any = None, token: str = "t0ken") -> Any:
    """Call a function that must succeed; return its data."""
    answer = await ask(daemon, function, data, token)
    assert answer["ok"], answer
    return answer["data"]


async def fail(daemon: HttpDaemon, function: str, data: Any = None, token: str = "t0ken") -> str:
    """Call a function that must fail; return its code."""
    answer = await ask(daemon, function, data, token)
    assert not answer["ok"], answer
    code: str = answer["data"]["code"]
    return code


async def run(daemon: HttpDaemon, script: str, **data: Any) -> str:
    """Start a shell script on pipes; return its session."""
    started = await call(daemon, "start", {"command": "/bin/sh", "args": ["-c", script], "tty": False, **data})
    session: str = started["session"]
    return session


def read(output: dict[str, Any], stream: int = 1) -> bytes:
    return b"".join(base64.b64decode(c["base64"]) for c in output["chunks"] if c["stream"] == stream)


@pytest.fixture
async def daemon(start_http: Start) -> HttpDaemon:
    return await start_http(rpc_door=True)


# The door.


async def test_the_door_is_closed_until_it_is_configured(start_http: Start) -> None:
    daemon = await start_http()

    assert (await daemon.client.post("/rpc", json={})).status_code == 404


@pytest.mark.parametrize("path", ["/rpc", "/rpc/1.0"])
async def test_without_a_token_nothing_is_called(daemon: HttpDaemon, path: str) -> None:
    response = await daemon.client.post(path, json={}, headers={"Authorization": "Basic eA==", **PROBLEM})

    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert daemon.questions == []


async def test_a_token_in_the_query_is_none(daemon: HttpDaemon) -> None:
    response = await daemon.client.post("/rpc?token=t0ken", json={}, headers={"Authorization": "Basic eA=="})

    assert response.status_code == 401


@pytest.mark.parametrize("headers", [{"Host": "rebound.example"}, {"Origin": "https://evil.example"}])
async def test_a_foreign_host_or_origin_is_refused_first(daemon: HttpDaemon, headers: dict[str, str]) -> None:
    body = {"weerpc": 1.1, "function": "list", "data": None}
    response = await daemon.client.post("/rpc", json=body, headers=headers)

    assert response.status_code == 403


async def test_a_form_of_another_site_calls_nothing(daemon: HttpDaemon) -> None:
    body = json.dumps({"weerpc": 1.1, "function": "start", "data": {"command": "/bin/true"}})
    response = await daemon.client.post("/rpc", content=body, headers={"Content-Type": "text/plain"})

    assert response.json()["message"] == "Request must be JSON."
    assert daemon.questions == []


async def test_other_methods_are_told_what_is_allowed(daemon: HttpDaemon) -> None:
    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"):
        response = await daemon.client.request(method, "/rpc")

        assert (response.status_code, response.headers["allow"]) == (405, "POST"), method


async def test_a_body_beyond_the_bound_is_refused(start_http: Start) -> None:
    daemon = await start_http(rpc_door=True, max_body_bytes=1024)
    response = await daemon.client.post("/rpc", content=b"x" * 2000, headers=PROBLEM)

    assert (response.status_code, response.json()["code"]) == (413, "too_big")


async def test_a_compressed_body_is_refused(daemon: HttpDaemon) -> None:
    response = await daemon.client.post("/rpc", content=b"x", headers={"Content-Encoding": "gzip", **PROBLEM})

    assert (response.status_code, response.json()["code"]) == (415, "unsupported_encoding")


async def test_the_older_version_has_its_route(daemon: HttpDaemon) -> None:
    response = await daemon.client.post("/rpc/1.0", json={"wrpc": 1, "function": "list", "data": None})

    assert response.json() == {"wrpc": 1.0, "ok": True, "message": None, "data": {"sessions": []}}


async def test_the_same_functions_speak_json_rpc(daemon: HttpDaemon) -> None:
    response = await daemon.client.post("/rpc", json={"jsonrpc": "2.0", "method": "list", "id": 7})

    assert response.json() == {"jsonrpc": "2.0", "result": {"sessions": []}, "id": 7}


# Sessions.


async def test_a_session_outlives_its_request_and_tells_its_output_and_exit(daemon: HttpDaemon) -> None:
    session = await run(daemon, "read line; echo got $line; echo oops >&2; exit 3")

    written = await call(daemon, "write", {"session": session, "text": "héllo\n"})
    ended = await call(daemon, "wait", {"session": session})
    output = await call(daemon, "output", {"session": session})

    assert written == {"written": 7, "is_full": False}
    assert (ended["running"], ended["exit_code"], ended["signal"]) == (False, 3, None)
    assert (read(output), read(output, stream=2)) == ("got héllo\n".encode(), b"oops\n")
    assert (output["ended"], output["missing"], output["next_offset"]) == (True, 0, ended["output_end"])


async def test_the_gate_is_asked_with_the_proposal_and_its_answer_runs(daemon: HttpDaemon) -> None:
    daemon.allow(args=["-c", "echo the grant"], title="granted")
    proposal = {"command": "/bin/sh", "args": ["-c", "echo proposed"], "cwd": "/", "env": {"A": "1"}, "tty": False}

    started = await call(daemon, "start", proposal)
    await call(daemon, "wait", {"session": started["session"]})

    question = daemon.questions[0]
    asked = {key: question[key] for key in ("door", "command", "args", "cwd", "env")}
    assert asked == {"door": "rpc", **{key: proposal[key] for key in ("command", "args", "cwd", "env")}}
    assert started["title"] == "granted"
    assert read(await call(daemon, "output", {"session": started["session"]})) == b"the grant\n"


async def test_a_terminal_has_the_size_that_was_asked_for_and_can_be_resized(daemon: HttpDaemon) -> None:
    script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.01; done"
    started = await call(daemon, "start", {"command": "/bin/sh", "args": ["-c", script], "rows": 30, "cols": 90})
    session = started["session"]
    first = await call(daemon, "output", {"session": session, "timeout_s": 10})

    resized = await call(daemon, "resize", {"session": session, "rows": 40, "cols": 100})
    await call(daemon, "wait", {"session": session})
    rest = await call(daemon, "output", {"session": session, "offset": first["next_offset"]})

    assert started["tty"] is True
    assert read(first).split() == [b"30", b"90"]
    assert (resized["rows"], resized["cols"]) == (40, 100)
    assert read(rest).split() == [b"40", b"100"]


async def test_a_signal_ends_a_session_and_is_told(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")

    await call(daemon, "signal", {"session": session, "signal": "KILL"})
    ended = await call(daemon, "wait", {"session": session})

    assert (ended["exit_code"], ended["signal"]) == (None, "KILL")
    assert await fail(daemon, "signal", {"session": session, "signal": "TERM"}) == "not_running"
    assert await fail(daemon, "write", {"session": session, "text": "x"}) == "not_running"


async def test_end_of_file_can_be_written(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec cat")

    await call(daemon, "write", {"session": session, "base64": base64.b64encode(b"\xff\0").decode(), "eof": True})
    await call(daemon, "wait", {"session": session})

    assert read(await call(daemon, "output", {"session": session})) == b"\xff\0"


async def test_waiting_ends_with_its_time(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")

    assert (await call(daemon, "wait", {"session": session, "timeout_s": 0.01}))["running"] is True


async def test_output_that_has_left_the_ring_is_told_as_a_gap(start_ours: Start) -> None:
    daemon = await start_ours(rpc_door=True, ring_bytes=256 * 1024, window_bytes=128 * 1024)
    session = await run(daemon, "head -c 1000000 /dev/zero; echo end")
    ended = await call(daemon, "wait", {"session": session})

    output = await call(daemon, "output", {"session": session, "limit": 1000})

    assert ended["output_end"] == 1_000_004
    assert output["missing"] == output["offset"] == ended["output_start"] == 1_000_004 - 256 * 1024
    assert output["next_offset"] == output["offset"] + 1000


async def test_input_that_nobody_reads_has_a_bound(start_ours: Start) -> None:
    daemon = await start_ours(rpc_door=True, input_bytes=16 * 1024)
    session = await run(daemon, "read go; exec sleep 1000")

    first = await call(daemon, "write", {"session": session, "text": "x" * 200_000})
    second = await call(daemon, "write", {"session": session, "text": "more"})

    assert (first["is_full"], second) == (True, {"written": 0, "is_full": True})


async def test_a_session_of_somebody_else_looks_like_none(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")
    daemon.allow("other", command="/bin/true", principal="somebody else")

    for function, data in (("output", {}), ("write", {"text": "x"}), ("wait", {}), ("signal", {"signal": "KILL"})):
        theirs = await ask(daemon, function, {"session": session, **data}, "other")
        nobodys = await ask(daemon, function, {"session": "0" * 32, **data}, "other")

        assert theirs == nobodys
        assert theirs["data"]["code"] == "not_found"
    assert (await call(daemon, "list", None, "other"))["sessions"] == []


async def test_a_token_that_the_gate_refuses_learns_nothing_about_sessions(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")

    theirs = await ask(daemon, "output", {"session": session}, "forged")
    nobodys = await ask(daemon, "output", {"session": "0" * 32}, "forged")

    assert theirs == nobodys
    assert theirs["data"] == {"code": "denied"}


async def test_a_principal_reaches_its_sessions_with_another_token(daemon: HttpDaemon) -> None:
    daemon.allow(principal="team-7")
    daemon.allow("other", command="/bin/true", principal="team-7", rights=["view"])
    session = await run(daemon, "echo hi; exec sleep 1000")

    output = await call(daemon, "output", {"session": session, "timeout_s": 10}, "other")
    listed = await call(daemon, "list", {"principal": True}, "other")

    assert read(output) == b"hi\n"
    assert [item["session"] for item in listed["sessions"]] == [session]
    assert await fail(daemon, "signal", {"session": session, "signal": "KILL"}, "other") == "right_missing"


async def test_what_the_grants_rights_lack_is_refused(daemon: HttpDaemon) -> None:
    daemon.allow(rights=["start", "view"])
    session = await run(daemon, "exec sleep 1000")

    assert await fail(daemon, "write", {"session": session, "text": "x"}) == "right_missing"
    assert await fail(daemon, "signal", {"session": session, "signal": "TERM"}) == "right_missing"
    assert await fail(daemon, "signal", {"session": session, "signal": "KILL"}) == "right_missing"


async def test_a_refused_token_starts_nothing(daemon: HttpDaemon) -> None:
    assert await fail(daemon, "start", {"command": "/bin/true"}, "forged") == "denied"
    assert len(daemon.app.registry) == 0


async def test_a_command_that_cannot_start_is_told(daemon: HttpDaemon) -> None:
    assert await fail(daemon, "start", {"command": "/no/such/program"}) == "spawn_failed"
    assert (await call(daemon, "list"))["sessions"] == []


async def test_sessions_have_a_bound(start_ours: Start) -> None:
    daemon = await start_ours(rpc_door=True, max_sessions=1)
    session = await run(daemon, "exec sleep 1000")

    assert await fail(daemon, "start", {"command": "/bin/true"}) == "too_many_sessions"
    await call(daemon, "signal", {"session": session, "signal": "KILL"})


@pytest.mark.parametrize(
    ("function", "data", "code"),
    [
        ("start", [], "bad_schema"),
        ("start", {"command": 5}, "bad_schema"),
        ("start", {"command": "/bin/true", "args": "-l"}, "bad_schema"),
        ("start", {"command": "/bin/true", "env": {"A": 1}}, "bad_schema"),
        ("start", {"rows": 0}, "bad_schema"),
        ("start", {"tty": 1}, "bad_schema"),
        ("wait", {}, "bad_schema"),
        ("wait", {"session": "x", "timeout_s": -1}, "bad_timeout"),
        ("wait", {"session": "x", "timeout_s": 1e9}, "bad_timeout"),
        ("wait", {"session": "x", "timeout_s": True}, "bad_timeout"),
        ("output", {"session": "x", "offset": -1}, "bad_schema"),
        ("output", {"session": "x", "limit": 10**6}, "bad_schema"),
        ("write", {"session": "x", "base64": "?"}, "bad_schema"),
        ("write", {"session": "x", "text": "a", "base64": "YQ=="}, "bad_schema"),
        ("write", {"session": "x", "text": "\ud800"}, "bad_schema"),
        ("signal", {"session": "x", "signal": "STOP"}, "bad_signal"),
        ("resize", {"session": "x", "rows": 24}, "bad_schema"),
    ],
)
async def test_a_wrong_argument_is_named_and_asks_nobody(
    start_ours: Start, function: str, data: Any, code: str
) -> None:
    daemon = await start_ours(rpc_door=True)

    assert await fail(daemon, function, data) == code
    assert daemon.questions == []


async def test_an_offset_beyond_the_output_is_refused(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")

    assert await fail(daemon, "output", {"session": session, "offset": 1}) == "bad_schema"


async def test_a_session_that_nobody_asks_for_ends_and_is_forgotten(daemon: HttpDaemon) -> None:
    held = daemon.app._held
    held.patience = Patience(lease_s=100.0, kept_s=50.0)
    session = await run(daemon, "exec sleep 1000")
    found = held.find(session)
    assert found is not None

    held.look(found.asked_at + 99.0)
    assert found.session.is_running
    held.look(found.asked_at + 101.0)
    await until(found.session.finished.done, "the session ended")
    assert found.session.reason == "idle_timeout"

    def is_forgotten() -> bool:
        held.look(asyncio.get_running_loop().time() + 51.0)
        return held.find(session) is None

    await until(is_forgotten, "it is forgotten")


async def test_only_so_many_that_have_ended_are_kept(daemon: HttpDaemon) -> None:
    daemon.app._held.patience = Patience(kept_max=2)
    sessions = [await run(daemon, "true") for _ in range(4)]
    for session in sessions:
        await ask(daemon, "wait", {"session": session})

    await until(lambda: len(list(daemon.app._held)) == 2, "the oldest went")


async def test_only_so_many_may_wait_for_one_session(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")
    waiting = [asyncio.ensure_future(ask(daemon, "wait", {"session": session})) for _ in range(17)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    assert [task.result()["data"]["code"] for task in done] == ["too_many_handshakes"]
    await call(daemon, "signal", {"session": session, "signal": "KILL"})
    await asyncio.gather(*waiting)


async def test_live_sessions_can_be_used_while_the_daemon_drains(daemon: HttpDaemon) -> None:
    session = await run(daemon, "exec sleep 1000")
    daemon.app.begin_drain()

    assert await fail(daemon, "start", {"command": "/bin/true"}) == "draining"
    await call(daemon, "signal", {"session": session, "signal": "KILL"})
    assert (await call(daemon, "wait", {"session": session}))["signal"] == "KILL"


async def test_no_answer_tells_what_is_granted_but_its_title(daemon: HttpDaemon) -> None:
    daemon.allow(env={"PASSWORD": "hidden-1"}, args=["-c", "exec sleep 1000 # hidden-2"])
    answer = await ask(daemon, "start", {"command": "/bin/sh"})

    assert "hidden" not in json.dumps(answer)
    assert hashlib.sha256(b"t0ken").hexdigest() not in json.dumps(answer)


async def test_the_real_program_serves_the_door_and_ends_its_sessions_with_itself(tmp_path: Path) -> None:
    token_hash = hashlib.sha256(b"t0ken" * 8).hexdigest()
    command = "command = '/bin/sh'\nargs = ['-c', 'echo up; exec sleep 1000']\ntty = false\n"
    (tmp_path / "tokens.toml").write_text(
        f"[[token]]\nname = 'rpc'\nhash = 'sha256:{token_hash}'\ndoors = ['rpc']\n{command}"
    )
    flags = ("--listen", "127.0.0.1:0", "--tokens-file", "tokens.toml", "--rpc-door", "--drain-timeout", "0s")
    program = (sys.executable, "-m", "ws_subprocess", "serve", *flags)
    environ = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2]), "XDG_STATE_HOME": str(tmp_path)}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*program, cwd=tmp_path, env=environ, stdout=pipe, stderr=pipe)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(30), httpx.AsyncClient(trust_env=False, headers=bearer("t0ken" * 8)) as client:
            url = (await process.stdout.readline()).decode().split()[1] + "/rpc"
            started = (await client.post(url, json=RPCRequest.build("start"))).json()["data"]
            wanted = {"session": started["session"], "timeout_s": 10}
            output = (await client.post(url, json=RPCRequest.build("output", wanted))).json()["data"]
            process.terminate()
            await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()

    assert read(output) == b"up\n"
    assert process.returncode == 0
