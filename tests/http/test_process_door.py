"""`POST /process`: what rexec's clients know, what was wrong with it, and what is new, with curl and bare sockets."""

import asyncio
import base64
import json
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from http_daemon import Curled, HttpDaemon, RawConnection
from observing import is_alive, until

Start = Callable[..., Awaitable[HttpDaemon]]

NDJSON = {"Accept": "application/x-ndjson"}
PROBLEM = {"Accept": "application/problem+json"}
CASES = {
    "HT-01": "test_bodies.py::test_a_request_without_a_token_is_told_how_to_send_one",
    "HT-03": "test_bodies.py::test_ht_03_what_a_page_may_send_unasked_is_no_request",
    "HT-05": "test_bodies.py::test_ht_05_a_body_that_says_it_is_too_large_is_refused_unread",
    "HT-06": "test_bodies.py::test_ht_06_a_body_of_no_declared_length_is_read_to_the_limit_and_no_further",
    "HT-07": "test_bodies.py::test_ht_07_who_asks_whether_to_send_a_refused_body_is_not_told_to_go_on",
    "HT-08": "test_bodies.py::test_ht_08_a_body_that_never_comes_ends_in_408",
    "HT-09": "test_bodies.py::test_ht_09_an_encoded_body_is_refused_and_never_unpacked",
    "HT-10": "test_bodies.py::test_ht_10_what_is_not_json_is_refused",
    "HT-11": "test_process_door.py::test_ht_11_an_alias_that_is_none_is_refused",
    "HT-13": "test_process_door.py::test_ht_13_of_50_racing_starts_of_one_alias_exactly_one_wins",
    "HT-14": "test_process_door.py::test_ht_14_a_command_that_cannot_start_is_404",
    "HT-15": "test_process_door.py::test_ht_15_on_its_own_listener_every_other_path_and_method_is_501",
    "HT-17": "test_process_door.py::test_ht_17_a_relative_directory_is_refused",
    "HT-19": "test_process_door.py::test_ht_19_a_second_request_on_a_streaming_connection_is_not_interleaved",
    "HT-34": "test_process_door.py::test_any_other_method_is_501",
    "HT-37": "test_process_door.py::test_ht_11_an_alias_that_is_none_is_refused",
}
"""Which test stands for which case of the catalogue of bad input."""


def sh(script: str, **more: Any) -> dict[str, Any]:
    """Return a request that runs a shell script."""
    return {"alias": "a", "cmd": "/bin/sh", "args": ["-c", script], **more}


async def post(daemon: HttpDaemon, body: object, **headers: str) -> httpx.Response:
    headers["Content-Type"] = "application/json"
    return await daemon.client.post("/process", content=json.dumps(body), headers=headers)


async def run(daemon: HttpDaemon, body: object, *args: str) -> Curled:
    """Post with curl, as rexec's users do."""
    return await daemon.curl("-H", "Content-Type: application/json", "-d", json.dumps(body), *args, "{url}/process")


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    return [json.loads(line) for line in answer.text.splitlines()]


def begin(to: RawConnection, body: object, **headers: str) -> None:
    to.send("POST", "/process", json.dumps(body).encode(), content_type="application/json", **headers)


async def started(daemon: HttpDaemon, connection: RawConnection, body: object) -> int:
    """Begin a request whose script first says its pid; return that, with the rest of the answer to be read."""
    begin(connection, body)
    assert await connection.read_status() == 200
    await connection.reader.readline()
    return int(await connection.reader.readline())


# What rexec's clients know.


async def test_output_is_the_answer(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    curled = await run(daemon, sh("echo one; echo two"))

    assert (curled.exit_code, curled.out) == (0, b"one\ntwo\n")


async def test_the_answer_begins_at_once_and_output_comes_as_it_is_written(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    go = tmp_path / "go"
    os.mkfifo(go)
    signal = os.open(go, os.O_RDWR)

    async with daemon.raw() as connection:
        begin(connection, sh(f"exec 3< {go}; read x <&3; printf partial; read x <&3"))
        assert "transfer-encoding: chunked" in (await connection.read_head()).lower(), "before any output"
        os.write(signal, b"\n")
        assert await connection.reader.readexactly(12) == b"7\r\npartial\r\n", "without waiting for a line's end"
        os.write(signal, b"\n")

        assert (await connection.reader.read()).startswith(b"0\r\n")
    os.close(signal)


async def test_the_environment_is_added_and_the_directory_is_entered(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh('echo "$LAB $HOME"; pwd', cwd=str(tmp_path), envs={"LAB": "7"}))

    assert answer.text == f"7 {Path.home()}\n{tmp_path}\n"


async def test_a_dot_as_directory_is_the_default(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await post(daemon, sh("pwd", cwd="."))).text == f"{os.getcwd()}\n"


async def test_unknown_keys_are_ignored(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await post(daemon, sh("echo hi", colour="blue"))).text == "hi\n"


async def test_a_name_is_looked_up_in_the_path_before_the_gate_is_asked(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    program = tmp_path / "lab-tool"
    program.write_text("#!/bin/sh\necho found\n")
    program.chmod(0o755)

    plain = await post(daemon, {"alias": "a", "cmd": "echo", "args": ["hi"]})
    given = await post(daemon, {"alias": "a", "cmd": "lab-tool", "envs": {"PATH": f"relative:{tmp_path}:/bin"}})

    assert (plain.text, given.text) == ("hi\n", "found\n")
    assert [question["command"] for question in daemon.questions] == ["/usr/bin/echo", str(program)]


async def test_the_gate_is_asked_for_what_is_proposed_and_its_answer_runs(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(command="/bin/echo", args=["something else"])

    answer = await post(daemon, sh("exit 7", cwd="/tmp", envs={"LAB": "7"}))

    assert answer.text == "something else\n"
    (question,) = daemon.questions
    assert (question["door"], question["command"], question["args"]) == ("process", "/bin/sh", ["-c", "exit 7"])
    assert (question["cwd"], question["env"]) == ("/tmp", {"LAB": "7"})


@pytest.mark.parametrize(
    ("cmd", "why"),
    [
        ("no-such-program", "No such file or directory (os error 2)"),
        ("/no/such/program", "No such file or directory (os error 2)"),
        ("/etc/passwd", "Permission denied (os error 13)"),
    ],
)
async def test_ht_14_a_command_that_cannot_start_is_404(start_http: Start, cmd: str, why: str) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, {"alias": "a", "cmd": cmd})
    problem = await post(daemon, {"alias": "a", "cmd": cmd}, **PROBLEM)

    assert (answer.status_code, answer.text) == (404, f'[Rexec] FailedToExecuteProcess : "{why}"')
    assert "content-type" not in answer.headers
    assert (problem.status_code, problem.json()["code"]) == (404, "start_failed")


async def test_a_directory_that_is_not_there_is_404(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh("echo hi", cwd="/no/such"))

    assert (answer.status_code, answer.text) == (
        404,
        '[Rexec] FailedToExecuteProcess : "No such file or directory (os error 2)"',
    )


async def test_a_running_alias_is_409_and_free_when_its_command_has_ended(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        await started(daemon, connection, sh("") | hold())
        taken = await post(daemon, sh("echo hi"))
        other = await post(daemon, sh("echo hi", alias="b"))
    await until(lambda: len(daemon.app.registry) == 0)
    again = await post(daemon, sh("echo hi"))

    assert (taken.status_code, taken.text) == (409, '[Rexec] AlreadyRunning : ""')
    assert (other.text, again.text) == ("hi\n", "hi\n")


def hold() -> dict[str, Any]:
    return {"args": ["-c", "echo $$; exec sleep 1000"]}


@pytest.mark.parametrize("body", ["{", "[]", "null", '{"cmd": "true"}', '{"alias": "a"}', '{"alias": "a", "cmd": 1}'])
async def test_a_bad_request_is_500_for_rexecs_clients_and_400_for_others(start_http: Start, body: str) -> None:
    daemon = await start_http(process_door=True)
    headers = {"Content-Type": "application/json"}

    old = await daemon.client.post("/process", content=body, headers=headers)
    new = await daemon.client.post("/process", content=body, headers={**headers, **PROBLEM})

    assert old.status_code == 500
    assert old.text.startswith('[Rexec] InvalidCreateProcessRequest : "')
    assert new.status_code == 400
    assert not daemon.questions


@pytest.mark.parametrize(
    ("wrong", "code"),
    [
        ({"args": None}, "bad_schema"),
        ({"args": "a b"}, "bad_schema"),
        ({"args": [1]}, "bad_schema"),
        ({"args": ["\0"]}, "bad_schema"),
        ({"envs": None}, "bad_schema"),
        ({"envs": ["A=1"]}, "bad_schema"),
        ({"envs": {"A": 1}}, "bad_schema"),
        ({"envs": {"LD_PRELOAD": "/x.so"}}, "bad_schema"),
        ({"cmd": ""}, "bad_schema"),
        ({"cmd": "bin/true"}, "bad_schema"),
        ({"cmd": "../true"}, "bad_schema"),
        ({"cmd": "/bin/tr\nue"}, "bad_schema"),
        ({"stderr": "keep"}, "bad_schema"),
        ({"stderr": "separate"}, "bad_schema"),
        ({"stderr": ["drop"]}, "bad_schema"),
        ({"stdin": 5}, "bad_schema"),
        ({"stdin": "\ud800"}, "bad_schema"),
        ({"timeout": 0}, "bad_timeout"),
        ({"timeout": -1}, "bad_timeout"),
        ({"timeout": "60"}, "bad_timeout"),
        ({"timeout": True}, "bad_timeout"),
        ({"timeout": 1e12}, "bad_timeout"),
    ],
)
async def test_a_known_key_with_a_wrong_value_is_refused_before_anybody_is_asked(
    start_ours: Start, wrong: dict[str, Any], code: str
) -> None:
    daemon = await start_ours(process_door=True)

    answer = await post(daemon, {**sh("true"), **wrong}, **PROBLEM)

    assert (answer.status_code, answer.json()["code"]) == (400, code)
    assert not daemon.questions


async def test_a_timeout_beyond_all_numbers_is_refused(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)
    body = '{"alias": "a", "cmd": "true", "timeout": 1e400}'

    answer = await daemon.client.post("/process", content=body, headers={"Content-Type": "application/json", **PROBLEM})

    assert answer.json()["code"] == "bad_timeout"


@pytest.mark.parametrize("alias", [None, "", "x" * 256, "a\nb", "a\r\nX: y", "../x", "a/b", 5, "a\0", "\x7f"])
async def test_ht_11_an_alias_that_is_none_is_refused(start_http: Start, alias: object) -> None:
    daemon = await start_http(process_door=True)

    old = await post(daemon, sh("true", alias=alias))
    new = await post(daemon, sh("true", alias=alias), **PROBLEM)

    assert (old.status_code, new.status_code, new.json()["code"]) == (500, 400, "bad_alias")
    assert not daemon.questions


@pytest.mark.parametrize("cwd", ["tmp", "../..", "/tmp/../root", "", None, 5, "/proc/self/cwd"])
async def test_ht_17_a_relative_directory_is_refused(start_ours: Start, cwd: object) -> None:
    daemon = await start_ours(process_door=True)

    answer = await post(daemon, sh("true", cwd=cwd), **PROBLEM)

    assert (answer.status_code, answer.json()["code"]) == (400, "bad_cwd")
    assert not daemon.questions


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"])
async def test_any_other_method_is_501(start_http: Start, method: str) -> None:
    daemon = await start_http(process_door=True)

    answer = await daemon.client.request(method, "/process")

    assert (answer.status_code, answer.text) == (501, "" if method == "HEAD" else "Invalid path.")


async def test_on_the_shared_listener_unknown_paths_stay_404(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await daemon.client.post("/process/")).status_code == 404
    assert (await daemon.client.post("/%70rocess")).status_code == 501


async def test_without_its_setting_the_door_is_not_there(start_http: Start) -> None:
    daemon = await start_http()

    assert (await post(daemon, sh("true"))).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/process"), ("POST", "/process/"), ("GET", "/"), ("GET", "/healthz"), ("POST", "/x"), ("GET", "/ws")],
)
async def test_ht_15_on_its_own_listener_every_other_path_and_method_is_501(
    start_ours: Start, method: str, path: str
) -> None:
    daemon = await start_ours(process_listen=("127.0.0.1:0",))

    answer = await daemon.client.request(method, daemon.own_url + path)
    upgrade = await daemon.curl(
        "-s", "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
        "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "{own_url}/ws",
    )  # fmt: skip

    assert (answer.status_code, answer.text) == (501, "Invalid path.")
    assert upgrade.out == b"Invalid path."


async def test_on_its_own_listener_the_door_is_the_same(start_ours: Start) -> None:
    daemon = await start_ours(process_listen=("127.0.0.1:0",), base_path="/lab")

    own = await daemon.client.post(daemon.own_url + "/process", json=sh("echo hi"))
    shared = await daemon.client.post("/lab/process", json=sh("echo hi"))

    assert own.text == "hi\n"
    assert shared.status_code == 404, "process_listen alone does not open it elsewhere"


async def test_below_a_base_path_the_door_is_below_it_too(start_http: Start) -> None:
    daemon = await start_http(process_door=True, base_path="/lab")

    assert (await daemon.client.post("/lab/process", json=sh("echo hi"))).text == "hi\n"


# What was wrong with rexec.


async def test_defect_nobody_had_to_show_a_token(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.grants.clear()

    none = await post(daemon, sh("true"), Authorization="")
    bad = await post(daemon, sh("true"))

    assert (none.status_code, bad.status_code) == (401, 403)


async def test_defect_a_command_that_closes_its_output_was_killed(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    done = tmp_path / "done"

    answer = await post(daemon, sh(f"echo hi; exec >&- 2>&-; sleep 0.3; echo > {done}; exit 3"), **NDJSON)

    assert lines_of(answer)[-1] == {"exit": {"code": 3, "signal": None}}
    assert done.exists()


async def test_defect_grandchildren_survived_and_held_the_answer_open(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    pid = tmp_path / "pid"
    begun = time.monotonic()

    answer = await post(daemon, sh(f"setsid sleep 1000 & echo $! > {pid}; echo hi"))

    assert answer.text == "hi\n"
    assert time.monotonic() - begun < 5
    # Its files are closed, so it is dying; a busy kernel may take a moment.
    await until(lambda: not is_alive(int(pid.read_text())), "it is dead", timeout_s=1.0)


async def test_defect_output_that_is_no_utf_8_ended_the_stream(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(process_door=True)
    data = os.urandom(300_000) + b"\xff\r\nno end of line"
    (tmp_path / "data").write_bytes(data)

    curled = await run(daemon, {"alias": "a", "cmd": "cat", "args": [str(tmp_path / "data")]})

    assert curled.out == data, "byte for byte: no line's end is added or changed"


async def test_defect_a_client_that_left_in_time_blocked_its_alias_for_ever(start_ours: Start) -> None:
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


async def test_defect_request_bodies_with_secrets_were_logged(
    start_ours: Start, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = await start_ours(process_door=True)
    caplog.set_level("DEBUG")

    for body in ({"envs": {"A": 5, "B": "s3cret"}}, {"args": ["s3cret", 1]}, {"envs": {"LD_PRELOAD": "s3cret"}}):
        answer = await post(daemon, {**sh("true"), **body, "stdin": "s3cret"})
        assert "s3cret" not in answer.text
    await post(daemon, sh("true", envs={"A": "s3cret"}, stdin="s3cret"))

    ours = [r for r in caplog.records if r.name.startswith("ws_subprocess")]
    assert ours
    assert not [r for r in ours if "s3cret" in str(vars(r))]


async def test_defect_a_cut_answer_looked_like_a_whole_one(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(max_output_bytes=1000)

    curled = await run(daemon, sh("yes"))

    assert curled.exit_code == 18, "curl: transfer closed with outstanding read data remaining"
    assert curled.out == b"y\n" * 500, "and what there was arrives"


async def test_defect_an_end_of_the_daemon_left_processes_behind_and_looked_like_the_end_of_output(
    start_ours: Start,
) -> None:
    daemon = await start_ours(process_door=True)

    async with daemon.raw() as connection:
        pid = await started(daemon, connection, sh("") | hold())
        await daemon.app.end_sessions()
        rest = await connection.reader.read()

    assert not rest.endswith(b"0\r\n\r\n")
    assert b"\r\n0\r\n" not in rest
    assert not is_alive(pid)


# Ends.


@pytest.mark.parametrize("script", ["exec sleep 1000", "while :; do echo x; sleep 0.01; done", "yes"])
async def test_a_client_that_leaves_kills_the_tree_at_once(start_http: Start, script: str) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        pid = await started(daemon, connection, sh(f"trap '' HUP TERM; sleep 1000 & echo $!; {script}"))
        assert is_alive(pid)
    begun = time.monotonic()
    await until(lambda: len(daemon.app.registry) == 0, "the session ends")

    assert not is_alive(pid)
    assert time.monotonic() - begun < 1.0, "without steps that a trap could outlive"


async def test_a_client_that_closes_its_sending_half_has_left(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        pid = await started(daemon, connection, sh("") | hold())
        connection.writer.write_eof()
        await until(lambda: not is_alive(pid))


async def test_ht_13_of_50_racing_starts_of_one_alias_exactly_one_wins(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answers = await asyncio.gather(*(post(daemon, sh("sleep 0.5; echo won")) for _ in range(50)))

    assert sorted(answer.status_code for answer in answers) == [200, *[409] * 49]
    assert [answer.text for answer in answers if answer.status_code == 200] == ["won\n"]


async def test_an_alias_is_free_as_soon_as_the_answer_has_ended(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    for _ in range(30):
        assert (await post(daemon, sh("sleep 1000 >/dev/null 2>&1 & echo hi"))).text == "hi\n"


async def test_a_failed_start_gives_its_alias_back(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    await post(daemon, {"alias": "a", "cmd": "/no/such"})

    assert (await post(daemon, sh("echo hi"))).text == "hi\n"


async def test_a_token_that_counts_once_is_not_used_up_by_a_taken_alias(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(process_door=True, token_once=True, state_dir=str(tmp_path))
    daemon.allow("other")

    async with daemon.raw() as connection:
        await started(daemon, connection, sh("") | hold())
        taken = await post(daemon, sh("echo hi"), Authorization="Bearer other")
    await until(lambda: len(daemon.app.registry) == 0)
    again = await post(daemon, sh("echo hi"), Authorization="Bearer other")
    used = await post(daemon, sh("echo hi"), Authorization="Bearer other")

    assert (taken.status_code, again.text, used.status_code) == (409, "hi\n", 403)


@pytest.mark.parametrize("accept", ["*/*", "application/x-ndjson"])
async def test_a_timeout_kills_the_tree_and_shows(start_http: Start, accept: str) -> None:
    daemon = await start_http(process_door=True)
    begun = time.monotonic()

    curled = await run(daemon, sh("trap '' TERM; echo hi; sleep 1000 & wait", timeout=0.3), "-H", f"Accept: {accept}")

    assert 0.3 <= time.monotonic() - begun < 3
    if accept == "*/*":
        assert (curled.exit_code, curled.out) == (18, b"hi\n")
    else:
        last = json.loads(curled.out.splitlines()[-1])
        assert last == {"exit": {"code": None, "signal": "KILL"}, "error": "timed_out"}


async def test_a_client_that_reads_slowly_gets_every_byte_and_the_command_waits(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)
    size = 20_000_000

    async with daemon.raw() as connection:
        begin(connection, sh(f"head -c {size} /dev/zero"), connection="close")
        await until(lambda: len(daemon.app.registry) == 1)
        (session,) = daemon.app.registry
        await until(lambda: session._paused, "the command is made to wait")
        assert session.ring.end < size / 2
        await connection.read_head()
        total = 0
        while length := int(await connection.reader.readline(), 16):
            total += len(await connection.reader.readexactly(length + 2)) - 2

    assert total == size


# What is new.


async def test_the_exit_code_is_a_trailer(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    async with daemon.raw() as connection:
        begin(connection, sh("exit 3"))
        head = await connection.read_head()
        rest = await connection.reader.read()

    assert "\r\ntrailer: X-Exit-Code, X-Exit-Signal\r\n" in head
    assert rest == b"0\r\nx-exit-code: 3\r\n\r\n"


async def test_the_signal_that_ended_it_is_a_trailer(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    async with daemon.raw() as connection:
        begin(connection, sh("kill -9 $$"))
        await connection.read_head()

        assert await connection.reader.read() == b"0\r\nx-exit-signal: KILL\r\n\r\n"


async def test_a_server_without_trailers_announces_none(start_http: Start, server: str) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh("exit 3"))

    assert ("trailer" in answer.headers) == (server == "ours")


async def test_ndjson_tells_streams_apart_and_ends_with_the_exit(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh("printf 'a\\377'; echo b >&2; exit 7"), **NDJSON)

    assert answer.headers["content-type"] == "application/x-ndjson"
    *output, last = lines_of(answer)
    found = {line["stream"]: base64.b64decode(line["data_b64"]) for line in output}
    assert found == {"stdout": b"a\xff", "stderr": b"b\n"}
    assert last == {"exit": {"code": 7, "signal": None}}


async def test_events_hold_the_same_as_ndjson(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh("echo a; exit 7"), Accept="text/event-stream")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == (
        'event: output\ndata: {"stream":"stdout","data_b64":"YQo="}\n\n'
        'event: exit\ndata: {"exit":{"code":7,"signal":null}}\n\n'
    )


@pytest.mark.parametrize(("stderr", "expected"), [("drop", b"a\n"), ("merge", b"a\nb\n")])
async def test_stderr_is_dropped_or_merged(start_http: Start, stderr: str, expected: bytes) -> None:
    daemon = await start_http(process_door=True)

    curled = await run(daemon, sh("echo a; sleep 0.05; echo b >&2", stderr=stderr))

    assert curled.out == expected


async def test_input_may_stand_in_the_request(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await post(daemon, sh("tr a-z A-Z", stdin="h\u00e9llo"))).text == "H\u00e9LLO"


async def test_who_may_only_watch_gives_no_input(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(read_only=True)

    with_input = await post(daemon, sh("cat", stdin="x"), **PROBLEM)
    without = await post(daemon, sh("cat; echo end"))

    assert (with_input.status_code, with_input.json()["code"]) == (403, "right_missing")
    assert without.text == "end\n"


async def test_without_input_there_is_its_end_at_once(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await post(daemon, sh("cat; echo end"))).text == "end\n"


def header(body: object) -> str:
    return "X-Process: " + base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")


STREAM = ("-H", "Content-Type: application/octet-stream", "-X", "POST")


async def test_input_may_be_the_body(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    data = os.urandom(5_000_000)

    curled = await daemon.curl(*STREAM, "-H", header(sh("cat")), "-T", "-", "{url}/process", data=data)

    assert curled.exit_code == 0, curled.err
    assert curled.out == data


async def test_input_and_output_flow_at_the_same_time(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        name, _, value = header(sh("cat")).partition(": ")
        types = {"content_type": "application/octet-stream", "content_length": "", "transfer_encoding": "chunked"}
        connection.send("POST", "/process", **types, **{name: value})
        assert await connection.read_status() == 200
        for text in (b"one", b"two"):
            connection.writer.write(b"3\r\n" + text + b"\r\n")
            assert await connection.reader.readexactly(8) == b"3\r\n" + text + b"\r\n"
        connection.writer.write(b"0\r\n\r\n")

        assert (await connection.reader.read()).startswith(b"0\r\n")


async def test_a_command_that_ends_before_its_input_does_still_gives_all_its_output(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    curled = await daemon.curl(
        *STREAM, "-H", header(sh("head -c 3; exit 5")), "-H", "Accept: application/x-ndjson", "-T", "-",
        "{url}/process", data=b"abc" * 3_000_000,
    )  # fmt: skip

    lines = [json.loads(line) for line in curled.out.splitlines()]
    assert base64.b64decode(lines[0]["data_b64"]) == b"abc"
    assert lines[-1] == {"exit": {"code": 5, "signal": None}}


async def test_a_client_that_leaves_a_command_which_never_reads_is_seen_to_leave(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True, input_bytes=64 * 1024)

    async with daemon.raw() as connection:
        name, _, value = header(sh("") | hold()).partition(": ")
        types = {"content_type": "application/octet-stream", "content_length": "100000000"}
        connection.send("POST", "/process", **types, **{name: value})
        await connection.read_head()
        connection.writer.write(b"x" * 400_000)
        await until(lambda: next(iter(daemon.app.registry)).input_bytes > 64 * 1024)
        (session,) = daemon.app.registry
        await until(lambda: any(a.is_input_full for a in session.attachments), "input is full")
        connection.writer.close()

        await until(lambda: len(daemon.app.registry) == 0, "the session ends")
    assert session.reason == "client_gone"


@pytest.mark.parametrize("value", ["", "%%%", "e30=", "W10"])
async def test_a_request_in_a_header_that_is_none_is_refused(start_http: Start, value: str) -> None:
    daemon = await start_http(process_door=True)

    curled = await daemon.curl(
        *STREAM, "-w", "%{http_code}", "-H", f"X-Process: {value}" if value else "X-Process;", "{url}/process"
    )

    assert curled.out.endswith(b"500")
    assert not daemon.questions


async def test_ht_19_a_second_request_on_a_streaming_connection_is_not_interleaved(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        begin(connection, sh("echo one; sleep 0.2; echo two"))
        begin(connection, sh("echo three", alias="b"))
        answer = await connection.reader.read()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"one\n" in answer
    assert b"two\n" in answer
    assert b"three" not in answer
    assert len(daemon.questions) == 1, "the connection ends with the first answer, which said so"


async def test_a_client_that_sends_another_request_and_leaves_is_seen_to_leave(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    async with daemon.raw() as connection:
        begin(connection, sh("") | hold())
        begin(connection, sh("echo three", alias="b"))
        await connection.read_head()
        connection.writer.write(b"POST " + b"x" * 300_000)
        await connection.writer.drain()
        await until(lambda: len(daemon.app.registry) == 1)

    await until(lambda: len(daemon.app.registry) == 0, "the session ends")


async def test_a_draining_daemon_starts_nothing(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.app.begin_drain()

    answer = await post(daemon, sh("true"))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


async def test_when_all_sessions_are_taken_the_answer_is_503(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_sessions=1)

    async with daemon.raw() as connection:
        await started(daemon, connection, sh("") | hold())

        assert (await post(daemon, sh("true", alias="b"))).status_code == 503
    assert len(daemon.questions) == 1


async def test_a_grant_that_wants_a_terminal_gets_pipes(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(tty=True)

    assert (await post(daemon, sh("test -t 1 || echo pipe"))).text == "pipe\n"


def test_every_case_names_a_test_that_is_there() -> None:
    here = Path(__file__).parent
    for place in CASES.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (here / file).read_text(), place


async def test_a_client_that_takes_nothing_gives_its_alias_back(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    [door] = [route.app for route in daemon.app.router.routes if getattr(route, "path", "") == "/process"]
    door.stall_timeout_s = 0.2
    body = json.dumps({"alias": "a", "cmd": "/usr/bin/yes"}).encode()
    async with daemon.raw() as connection:
        connection.writer.transport.pause_reading()  # type: ignore[attr-defined]
        connection.send("POST", "/process", body, content_type="application/json")
        await until(lambda: list(daemon.app.registry), "the command")

        await until(lambda: not list(daemon.app.registry) and not door._aliases, "its end")

        response = await daemon.client.post("/process", json={"alias": "a", "cmd": "/bin/true"})
        assert response.status_code == 200
