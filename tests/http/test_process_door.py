"""`POST /process` as rexec's clients know it: its requests, its answers, its words."""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from http_daemon import HttpDaemon
from process_asking import PROBLEM, begin, post, run, sh

Start = Callable[..., Awaitable[HttpDaemon]]


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
async def test_a_command_that_cannot_start_is_404_in_rexecs_words(start_http: Start, cmd: str, why: str) -> None:
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


async def test_a_bad_request_is_500_for_rexecs_clients_and_400_for_others(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    headers = {"Content-Type": "application/json"}

    for body in ("{", "[]", "null", '{"cmd": "true"}', '{"alias": "a"}', '{"alias": "a", "cmd": 1}'):
        old = await daemon.client.post("/process", content=body, headers=headers)
        new = await daemon.client.post("/process", content=body, headers={**headers, **PROBLEM})

        assert old.status_code == 500, body
        assert old.text.startswith('[Rexec] InvalidCreateProcessRequest : "'), body
        assert new.status_code == 400, body
    assert not daemon.questions


WRONG: list[dict[str, Any]] = [
    {"envs": None},
    {"envs": ["A=1"]},
    {"envs": {"A": 1}},
    {"envs": {"LD_PRELOAD": "/x.so"}},
    {"cmd": ""},
    {"cmd": "bin/true"},
    {"cmd": "../true"},
    {"cmd": "/bin/tr\nue"},
    {"stderr": "keep"},
    {"stderr": "separate"},
    {"stderr": ["drop"]},
    {"stdin": 5},
    {"stdin": "\ud800"},
]


async def test_a_known_key_with_a_wrong_value_is_refused_before_anybody_is_asked(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    for wrong in WRONG:
        answer = await post(daemon, {**sh("true"), **wrong}, **PROBLEM)

        assert (answer.status_code, answer.json()["code"]) == (400, "bad_schema"), wrong
    assert not daemon.questions


async def test_an_alias_may_have_255_characters_of_any_script(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    assert (await post(daemon, sh("echo hi", alias="\u00e9" * 255))).text == "hi\n"


async def test_any_other_method_is_501(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    for method in ("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"):
        answer = await daemon.client.request(method, "/process")

        assert (answer.status_code, answer.text) == (501, "" if method == "HEAD" else "Invalid path."), method


async def test_on_the_shared_listener_unknown_paths_stay_404(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await daemon.client.post("/process/")).status_code == 404
    assert (await daemon.client.post("/%70rocess")).status_code == 501


async def test_without_its_setting_the_door_is_not_there(start_http: Start) -> None:
    daemon = await start_http()

    assert (await post(daemon, sh("true"))).status_code == 404


async def test_on_its_own_listener_everything_else_is_501_in_rexecs_words(start_ours: Start) -> None:
    daemon = await start_ours(process_listen=("127.0.0.1:0",))

    for method, path in (("GET", "/process"), ("POST", "/process/"), ("GET", "/"), ("GET", "/healthz"), ("POST", "/x")):
        answer = await daemon.client.request(method, daemon.own_url + path)

        assert (answer.status_code, answer.text) == (501, "Invalid path."), (method, path)
    upgrade = await daemon.curl(
        "-H", "Connection: Upgrade", "-H", "Upgrade: websocket", "-H", "Sec-WebSocket-Version: 13",
        "-H", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "{own_url}/ws",
    )  # fmt: skip
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
