"""What Flask-Shell2HTTP 1.9.1 does wrong, one test each."""

import asyncio
import base64
import json
import os
from pathlib import Path

import httpx
import pytest
from command_daemon import COMMANDS, CommandDaemon, StartCommands
from http_daemon import BEARER, TOKEN
from observing import becomes_true, is_alive, until

TREE = "sleep 1000 & echo $! $$ > {file}; sleep 1000"


async def read_pids(file: Path) -> list[int]:
    await until(lambda: file.exists() and file.read_text().endswith("\n"), "the tree's processes")
    return [int(pid) for pid in (await asyncio.to_thread(file.read_text)).split()]


async def test_deleting_stops_the_process_and_all_it_started(commands: CommandDaemon, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    key = await commands.start("sh", args=[TREE.format(file=file)])
    pids = await read_pids(file)

    response = await commands.client.delete(f"/commands/sh?key={key}")

    assert response.status_code == 204
    assert not [pid for pid in pids if is_alive(pid)]


async def test_deleting_a_job_that_waits_lets_it_never_begin(commands: CommandDaemon, tmp_path: Path) -> None:
    blocking = await commands.start("one", args=["sleep 1000"])
    waiting = await commands.start("one", args=[f"touch {tmp_path}/ran"])

    assert (await commands.client.delete(f"/commands/one?key={waiting}")).status_code == 204
    assert (await commands.client.delete(f"/commands/one?key={blocking}")).status_code == 204

    assert (await commands.run("one", args=["echo next"]))["report"] == "next\n"
    assert not (tmp_path / "ran").exists()


async def test_a_refused_duplicate_never_runs(commands: CommandDaemon, tmp_path: Path) -> None:
    line = f"echo x >> {tmp_path}/runs; sleep 0.2"

    answers = await asyncio.gather(*(commands.post("sh", args=[line]) for _ in range(10)))

    assert sorted(answer.status_code for answer in answers) == [202] + [400] * 9
    await commands.report("sh", next(a.json()["key"] for a in answers))
    assert (tmp_path / "runs").read_text() == "x\n"


async def test_more_than_fifty_jobs_are_remembered(commands: CommandDaemon) -> None:
    keys = await asyncio.gather(*(commands.start("echo", args=[str(number)]) for number in range(60)))

    reports = await asyncio.gather(*(commands.report("echo", key) for key in keys))

    assert [report["report"] for report in reports] == [f"{number}\n" for number in range(60)]


async def test_running_jobs_are_never_given_up_for_new_ones(start_commands: StartCommands) -> None:
    commands = await start_commands(max_jobs_kept=2)
    running = await commands.start("sh", args=["cat"], keep_stdin=True)
    for number in range(8):
        await commands.start("keep", args=[str(number)])

    await commands.client.post(f"/commands/sh/input?key={running}&end=true", content=b"still here")

    assert (await commands.report("sh", running))["report"] == "still here"


async def test_results_expire(start_commands: StartCommands) -> None:
    short = '[[command]]\nname = "short"\ncommand = "/bin/echo"\nretention = "keep"\nttl_s = 0.2\n'
    commands = await start_commands(commands=COMMANDS + short)
    key = await commands.start("short", args=["x"])
    await commands.report("short", key)

    async def is_gone() -> bool:
        return (await commands.get("short", key)).status_code == 404

    await becomes_true(is_gone, "the result's end")

    assert (await commands.get("short", key)).json()["error"] == f"No report exists for key: '{key}'."


async def test_a_job_is_not_there_through_another_command(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    assert (await commands.get("echo", key)).status_code == 404
    assert (await commands.client.delete(f"/commands/echo?key={key}")).status_code == 404
    assert (await commands.client.get(f"/commands/echo/output?key={key}")).status_code == 404
    assert (await commands.get("sh", key)).json()["status"] == "running"


async def test_arguments_that_are_parted_differently_have_different_keys(commands: CommandDaemon) -> None:
    one = await commands.start("sh", args=["sleep 1000 #", "a b"])
    two = await commands.start("sh", args=["sleep 1000 #", "a", "b"])

    assert one != two


async def test_binary_output_survives(commands: CommandDaemon) -> None:
    data = bytes(range(256)) * 1000

    report = await commands.run("cat", stdin_b64=base64.b64encode(data).decode())

    assert base64.b64decode(report["report_b64"]) == data
    assert report["returncode"] == 0
    assert report["report"].startswith("\0\x01")
    assert "\ufffd" in report["report"]


async def test_text_is_told_as_text_alone_however_it_is_cut(commands: CommandDaemon) -> None:
    text = "ÄÖ€𝄞" * 50_000

    report = await commands.run("cat", stdin=text)

    assert report["report"] == text
    assert "report_b64" not in report


async def test_time_that_is_up_ends_the_whole_tree_on_time(commands: CommandDaemon, tmp_path: Path) -> None:
    file = tmp_path / "pids"
    loop = asyncio.get_running_loop()
    begun_s = loop.time()

    report = await commands.run("sh", args=[TREE.format(file=file)], timeout=0.5)

    assert loop.time() - begun_s < 4
    assert report["returncode"] == -9
    assert not [pid for pid in await read_pids(file) if is_alive(pid)]


async def test_what_was_written_to_stderr_is_kept_when_time_is_up(commands: CommandDaemon) -> None:
    report = await commands.run("sh", args=["echo real >&2; sleep 1000"], timeout=0.5)

    assert (report["error"], report["stderr"]) == ("command timedout after 0.5 seconds.", "real\n")


async def test_half_a_second_is_half_a_second(commands: CommandDaemon) -> None:
    assert (await commands.run("sh", args=["sleep 0.1; echo in time"], timeout=5.5))["report"] == "in time\n"


async def test_the_time_of_a_command_bounds_that_of_its_requests(commands: CommandDaemon) -> None:
    report = await commands.run("brief", args=["1000"], timeout=500)

    assert report["error"] == "command timedout after 1 seconds."


async def test_files_of_one_name_do_not_overwrite_each_other(commands: CommandDaemon) -> None:
    files = {"first": ("same.txt", b"Hello one\n"), "second": ("same.txt", b"Hello two\n")}

    started = await commands.client.post(
        "/commands/cat", files=files, data={"request_json": json.dumps({"args": ["@first", "@second"]})}
    )

    assert (await commands.report("cat", started.json()["key"]))["report"] == "Hello one\nHello two\n"


@pytest.mark.parametrize(("command", "argument"), [("missing", "@file"), ("cat", "@other"), ("cat", "plain")])
async def test_uploads_are_gone_also_when_nothing_ran(commands: CommandDaemon, command: str, argument: str) -> None:
    started = await commands.client.post(
        f"/commands/{command}", files={"file": b"x"}, data={"request_json": json.dumps({"args": [argument]})}
    )
    if started.status_code == 202:
        await commands.get(command, started.json()["key"], wait="true")

    assert await commands.list_uploads() == []


async def test_a_body_that_is_not_understood_does_not_run_the_bare_command(commands: CommandDaemon) -> None:
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        response = await commands.client.post("/commands/echo", content=b'{"args": ["x"]}', headers=headers)

        assert (response.status_code, response.json()["code"]) == (415, "unsupported_media_type")
    assert (await commands.client.get("/commands/echo/jobs")).json()["jobs"] == []


async def test_head_does_not_consume(commands_anywhere: CommandDaemon) -> None:
    key = await commands_anywhere.start("sh", args=["echo x"])
    await commands_anywhere.ends("sh")

    head = await commands_anywhere.client.head(f"/commands/sh?key={key}")

    assert (head.status_code, head.content) == (200, b"")
    assert (await commands_anywhere.report("sh", key))["report"] == "x\n"


async def test_head_does_not_consume_a_failure_either(commands_anywhere: CommandDaemon) -> None:
    key = await commands_anywhere.start("missing")
    await commands_anywhere.ends("missing")

    head = await commands_anywhere.client.head(f"/commands/missing?key={key}")
    told = await commands_anywhere.get("missing", key)
    gone = await commands_anywhere.get("missing", key)

    assert (head.status_code, head.content) == (400, b"")
    assert (told.status_code, told.json()["key"]) == (400, key)
    assert gone.status_code == 404, "it is read once, as every result"


async def test_a_report_that_was_not_sent_to_its_end_is_not_lost(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["head -c 30000000 /dev/zero"])
    await commands.ends("sh")
    async with commands.http.raw() as connection:
        connection.send("GET", f"/commands/sh?key={key}")
        await connection.read_head()

    assert len((await commands.report("sh", key))["report"]) == 30_000_000


async def test_a_big_output_needs_little_memory(start_commands: StartCommands) -> None:
    commands = await start_commands()
    key = await commands.start("sh", args=["head -c 100000000 /dev/zero | tr '\\0' x"])
    await commands.client.get("/commands/sh", params={"key": key, "wait": "true", "timeout": "0.1"})
    before = _read_memory()
    length = 0
    async with httpx.AsyncClient(headers=BEARER, timeout=60, trust_env=False) as client:
        url = f"{commands.http.url}/commands/sh?key={key}&wait=true"
        async with client.stream("GET", url) as response:
            async for chunk in response.aiter_raw():
                length += len(chunk)

    assert length > 100_000_000
    assert _read_memory() - before < 32 * 1024 * 1024


def _read_memory() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


# Who has no principal shares none with others who have none.
strangers = pytest.mark.parametrize("grant", [{}, {"principal": "other"}], ids=["nobody's", "somebody's"])


@strangers
async def test_jobs_of_others_are_not_there(commands: CommandDaemon, grant: dict[str, str]) -> None:
    commands.http.allow("other", **grant)
    key = await commands.start("sh", args=["sleep 1000"])
    other = {"Authorization": "Bearer other"}

    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/output"), ("POST", "/input")):
        theirs = await commands.client.request(method, f"/commands/sh{path}?key={key}", headers=other)
        unknown = await commands.client.request(method, f"/commands/sh{path}?key=00000000", headers=other)

        assert theirs.status_code == unknown.status_code == 404
        assert theirs.text.replace(key, "00000000") == unknown.text
    assert (await commands.client.get("/commands/sh/jobs", headers=other)).json()["jobs"] == []
    assert (await commands.get("sh", key)).json()["status"] == "running"


@strangers
async def test_the_same_request_of_others_has_other_keys(commands: CommandDaemon, grant: dict[str, str]) -> None:
    keys = {await commands.start("sh", args=["sleep 1000"])}

    for token in ("second", "third"):
        commands.http.allow(token, **{name: f"{value} {token}" for name, value in grant.items()})
        headers = {"Authorization": f"Bearer {token}"}
        response = await commands.client.post("/commands/sh", json={"args": ["sleep 1000"]}, headers=headers)

        assert response.status_code == 202
        keys.add(response.json()["key"])

    assert len(keys) == 3


async def test_another_token_of_the_same_principal_finds_the_job(commands: CommandDaemon) -> None:
    commands.http.allow(TOKEN, principal="me")
    commands.http.allow("mine", principal="me")
    key = await commands.start("echo", args=["x"])

    response = await commands.client.get(
        f"/commands/echo?key={key}&wait=true", headers={"Authorization": "Bearer mine"}
    )

    assert response.json()["report"] == "x\n"
