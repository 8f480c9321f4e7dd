"""Sessions that the daemon's own functions at `/rpc` start, hold, and end, on both servers."""

import asyncio
import base64
import hashlib
import json
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from command_daemon import becomes_true
from http_daemon import HttpDaemon
from observing import until
from rpc_asking import ask, call, fail, read, run

from ws_subprocess.service.held_sessions import Patience

Start = Callable[..., Awaitable[HttpDaemon]]


async def test_a_session_outlives_its_request_and_tells_its_output_and_exit(rpc: HttpDaemon) -> None:
    session = await run(rpc, "read line; echo got $line; echo oops >&2; exit 3")

    written = await call(rpc, "write", {"session": session, "text": "héllo\n"})
    ended = await call(rpc, "wait", {"session": session})
    output = await call(rpc, "output", {"session": session})

    assert written == {"written": 7, "is_full": False}
    assert (ended["running"], ended["exit_code"], ended["signal"]) == (False, 3, None)
    assert (read(output), read(output, stream=2)) == ("got héllo\n".encode(), b"oops\n")
    assert (output["ended"], output["missing"], output["next_offset"]) == (True, 0, ended["output_end"])


async def test_the_gate_is_asked_with_the_proposal_and_its_answer_runs(rpc: HttpDaemon) -> None:
    rpc.allow(args=["-c", "echo the grant"], title="granted")
    proposal = {"command": "/bin/sh", "args": ["-c", "echo proposed"], "cwd": "/", "env": {"A": "1"}, "tty": False}

    started = await call(rpc, "start", proposal)
    await call(rpc, "wait", {"session": started["session"]})

    question = rpc.questions[0]
    asked = {key: question[key] for key in ("door", "command", "args", "cwd", "env")}
    assert asked == {"door": "rpc", **{key: proposal[key] for key in ("command", "args", "cwd", "env")}}
    assert started["title"] == "granted"
    assert read(await call(rpc, "output", {"session": started["session"]})) == b"the grant\n"


async def test_a_terminal_has_the_size_that_was_asked_for_and_can_be_resized(rpc: HttpDaemon) -> None:
    script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.01; done"
    started = await call(rpc, "start", {"command": "/bin/sh", "args": ["-c", script], "rows": 30, "cols": 90})
    session = started["session"]
    first = await call(rpc, "output", {"session": session, "timeout_s": 10})

    resized = await call(rpc, "resize", {"session": session, "rows": 40, "cols": 100})
    await call(rpc, "wait", {"session": session})
    rest = await call(rpc, "output", {"session": session, "offset": first["next_offset"]})

    assert started["tty"] is True
    assert read(first).split() == [b"30", b"90"]
    assert (resized["rows"], resized["cols"]) == (40, 100)
    assert read(rest).split() == [b"40", b"100"]


async def test_a_signal_ends_a_session_and_is_told(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")

    await call(rpc, "signal", {"session": session, "signal": "KILL"})
    ended = await call(rpc, "wait", {"session": session})

    assert (ended["exit_code"], ended["signal"]) == (None, "KILL")
    assert await fail(rpc, "signal", {"session": session, "signal": "TERM"}) == "not_running"
    assert await fail(rpc, "write", {"session": session, "text": "x"}) == "not_running"


async def test_end_of_file_can_be_written(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec cat")

    await call(rpc, "write", {"session": session, "base64": base64.b64encode(b"\xff\0").decode(), "eof": True})
    await call(rpc, "wait", {"session": session})

    assert read(await call(rpc, "output", {"session": session})) == b"\xff\0"


async def test_waiting_ends_with_its_time(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")

    assert (await call(rpc, "wait", {"session": session, "timeout_s": 0.01}))["running"] is True


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


async def test_a_session_of_somebody_else_looks_like_none(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")
    rpc.allow("other", command="/bin/true", principal="somebody else")

    for function, data in (("output", {}), ("write", {"text": "x"}), ("wait", {}), ("signal", {"signal": "KILL"})):
        theirs = await ask(rpc, function, {"session": session, **data}, "other")
        nobodys = await ask(rpc, function, {"session": "0" * 32, **data}, "other")

        assert theirs == nobodys
        assert theirs["data"]["code"] == "not_found"
    assert (await call(rpc, "list", None, "other"))["sessions"] == []


async def test_a_token_that_the_gate_refuses_learns_nothing_about_sessions(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")

    theirs = await ask(rpc, "output", {"session": session}, "forged")
    nobodys = await ask(rpc, "output", {"session": "0" * 32}, "forged")

    assert theirs == nobodys
    assert theirs["data"] == {"code": "denied"}


async def test_a_principal_reaches_its_sessions_with_another_token(rpc: HttpDaemon) -> None:
    rpc.allow(principal="team-7")
    rpc.allow("other", command="/bin/true", principal="team-7", rights=["view"])
    session = await run(rpc, "echo hi; exec sleep 1000")

    output = await call(rpc, "output", {"session": session, "timeout_s": 10}, "other")
    listed = await call(rpc, "list", {"principal": True}, "other")

    assert read(output) == b"hi\n"
    assert [item["session"] for item in listed["sessions"]] == [session]
    assert await fail(rpc, "signal", {"session": session, "signal": "KILL"}, "other") == "right_missing"


async def test_what_the_grants_rights_lack_is_refused(rpc: HttpDaemon) -> None:
    rpc.allow(rights=["start", "view"])
    session = await run(rpc, "exec sleep 1000")

    assert await fail(rpc, "write", {"session": session, "text": "x"}) == "right_missing"
    assert await fail(rpc, "signal", {"session": session, "signal": "TERM"}) == "right_missing"
    assert await fail(rpc, "signal", {"session": session, "signal": "KILL"}) == "right_missing"


async def test_a_refused_token_starts_nothing(rpc: HttpDaemon) -> None:
    assert await fail(rpc, "start", {"command": "/bin/true"}, "forged") == "denied"
    assert len(rpc.app.registry) == 0


async def test_a_command_that_cannot_start_is_told(rpc: HttpDaemon) -> None:
    assert await fail(rpc, "start", {"command": "/no/such/program"}) == "spawn_failed"
    assert (await call(rpc, "list"))["sessions"] == []


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


async def test_an_offset_beyond_the_output_is_refused(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")

    assert await fail(rpc, "output", {"session": session, "offset": 1}) == "bad_schema"


async def test_a_session_that_nobody_asks_for_ends_and_is_forgotten(rpc: HttpDaemon) -> None:
    held = rpc.app._held
    held.patience = Patience(lease_s=100.0, kept_s=50.0)
    session = await run(rpc, "exec sleep 1000")
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


async def test_only_so_many_that_have_ended_are_kept(rpc: HttpDaemon) -> None:
    rpc.app._held.patience = Patience(kept_max=2)
    sessions = [await run(rpc, "true") for _ in range(4)]
    for session in sessions:
        await ask(rpc, "wait", {"session": session})

    await until(lambda: len(list(rpc.app._held)) == 2, "the oldest went")


async def test_only_so_many_may_wait_for_one_session(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")
    waiting = [asyncio.ensure_future(ask(rpc, "wait", {"session": session})) for _ in range(17)]
    done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)

    assert [task.result()["data"]["code"] for task in done] == ["too_many_handshakes"]
    await call(rpc, "signal", {"session": session, "signal": "KILL"})
    await asyncio.gather(*waiting)


async def test_live_sessions_can_be_used_while_the_daemon_drains(rpc: HttpDaemon) -> None:
    session = await run(rpc, "exec sleep 1000")
    rpc.app.begin_drain()

    assert await fail(rpc, "start", {"command": "/bin/true"}) == "draining"
    await call(rpc, "signal", {"session": session, "signal": "KILL"})
    assert (await call(rpc, "wait", {"session": session}))["signal"] == "KILL"


async def test_no_answer_tells_what_is_granted_but_its_title(rpc: HttpDaemon) -> None:
    rpc.allow(env={"PASSWORD": "hidden-1"}, args=["-c", "exec sleep 1000 # hidden-2"])
    answer = await ask(rpc, "start", {"command": "/bin/sh"})

    assert "hidden" not in json.dumps(answer)
    assert hashlib.sha256(b"t0ken").hexdigest() not in json.dumps(answer)


@pytest.mark.parametrize("function", ["wait", "output"])
async def test_who_has_left_waits_no_more(rpc: HttpDaemon, function: str) -> None:
    session = await run(rpc, "exec sleep 1000")
    body = json.dumps({"weerpc": 1.1, "function": function, "data": {"session": session, "timeout_s": 60}}).encode()

    async def is_full() -> bool:
        return not (await ask(rpc, "wait", {"session": session, "timeout_s": 0.01}))["ok"]

    async def is_free() -> bool:
        return not await is_full()

    async with AsyncExitStack() as stack:
        # As many as may wait for one session.
        connections = [await stack.enter_async_context(rpc.raw()) for _ in range(16)]
        for connection in connections:
            connection.send("POST", "/rpc", body, content_type="application/json")
        await becomes_true(is_full, "all places taken")
    await becomes_true(is_free, "a place")
