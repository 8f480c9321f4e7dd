"""What rexec does wrong, one test each."""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from http_daemon import HttpDaemon
from observing import is_alive, until
from process_asking import HOLD, NDJSON, begin, lines_of, post, run, sh, started

from ws_subprocess.sessions.attachment import SessionLimits

Start = Callable[..., Awaitable[HttpDaemon]]


async def test_nobody_had_to_show_a_token(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.grants.clear()

    none = await post(daemon, sh("true"), Authorization="")
    bad = await post(daemon, sh("true"))

    assert (none.status_code, bad.status_code) == (401, 403)


async def test_a_command_that_closes_its_output_was_killed(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    done = tmp_path / "done"

    answer = await post(daemon, sh(f"echo hi; exec >&- 2>&-; sleep 0.3; echo > {done}; exit 3"), **NDJSON)

    assert lines_of(answer)[-1] == {"exit": {"code": 3, "signal": None}}
    assert done.exists()


@pytest.mark.parametrize("output", ["", ">/dev/null 2>&1"], ids=["with the output", "without it"])
async def test_grandchildren_survived_and_held_the_answer_open(start_http: Start, tmp_path: Path, output: str) -> None:
    daemon = await start_http(process_door=True)
    pid = tmp_path / "pid"
    begun = time.monotonic()

    answer = await post(daemon, sh(f"trap '' HUP TERM; setsid sleep 1000 {output} & echo $! > {pid}; echo hi"))

    assert answer.text == "hi\n"
    assert time.monotonic() - begun < SessionLimits().kill_after_s, "without steps that it could outlive"
    # Its files are closed, so it is dying; a busy kernel may take a moment.
    await until(lambda: not is_alive(int(pid.read_text())), "it is dead", timeout_s=1.0)


async def test_output_that_is_no_utf_8_ended_the_stream(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    data = os.urandom(300_000) + b"\xff\r\nno end of line"
    (tmp_path / "data").write_bytes(data)

    curled = await run(daemon, {"alias": "a", "cmd": "cat", "args": [str(tmp_path / "data")]})

    assert curled.out == data, "byte for byte: no line's end is added or changed"


async def test_a_client_that_left_in_time_blocked_its_alias_for_ever(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)
    asked = asyncio.Event()
    answer_later = asyncio.Event()

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await answer_later.wait()

    good, daemon.controller.answer = daemon.controller.answer, late
    async with daemon.raw() as connection:
        begin(connection, sh("sleep 1000"))
        async with asyncio.timeout(10):
            await asked.wait()
    daemon.controller.answer = good
    answer_later.set()

    await until(lambda: not daemon.app.registry._places, "the place is given back")
    assert (await post(daemon, sh("echo hi"))).text == "hi\n"


async def test_request_bodies_with_secrets_were_logged(start_ours: Start, caplog: pytest.LogCaptureFixture) -> None:
    daemon = await start_ours(process_door=True)
    caplog.set_level("DEBUG")

    for body in ({"envs": {"A": 5, "B": "s3cret"}}, {"args": ["s3cret", 1]}, {"envs": {"LD_PRELOAD": "s3cret"}}):
        answer = await post(daemon, {**sh("true"), **body, "stdin": "s3cret"})
        assert "s3cret" not in answer.text
    await post(daemon, sh("true", envs={"A": "s3cret"}, stdin="s3cret"))

    ours = [r for r in caplog.records if r.name.startswith("ws_subprocess")]
    assert ours
    assert not [r for r in ours if "s3cret" in str(vars(r))]


async def test_a_cut_answer_looked_like_a_whole_one(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(max_output_bytes=1000)

    curled = await run(daemon, sh("yes"))

    assert curled.exit_code == 18, "curl: transfer closed with outstanding read data remaining"
    assert curled.out == b"y\n" * 500, "and what there was arrives"


async def test_an_end_of_the_daemon_left_processes_behind_and_looked_like_the_end_of_output(
    start_ours: Start,
) -> None:
    daemon = await start_ours(process_door=True)

    async with daemon.raw() as connection:
        pid = await started(connection, HOLD)
        await daemon.app.end_sessions()
        rest = await connection.reader.read()

    assert not rest.endswith(b"0\r\n\r\n")
    assert b"\r\n0\r\n" not in rest
    assert not is_alive(pid)
