"""What the command door does beyond Flask-Shell2HTTP: live output, events, input, lists, retention, turns."""

import asyncio
import json
from typing import Any

import httpx
import pytest
from command_daemon import CommandDaemon, StartCommands, run_command_daemon

SLOW = "for i in 1 2 3; do echo line $i; echo err $i >&2; sleep 0.1; done"


async def read_events(client: httpx.AsyncClient, path: str, **headers: str) -> list[dict[str, Any]]:
    """Return the events of a stream, to its end."""
    events: list[dict[str, Any]] = []
    accept = {"Accept": "text/event-stream", **headers}
    async with client.stream("GET", path, headers=accept) as response:
        assert response.status_code == 200, await response.aread()
        assert response.headers["content-type"].startswith("text/event-stream")
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                events.append({"event": value})
            elif name == "data":
                events[-1] |= json.loads(value)
            elif name == "id":
                events[-1]["id"] = value
    return events


def join(events: list[dict[str, Any]], stream: str) -> str:
    return "".join(event["text"] for event in events if event["event"] == "output" and event["stream"] == stream)


async def test_output_is_there_while_the_command_runs(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["echo first; cat"], keep_stdin=True)

    first = await commands.client.get(f"/commands/sh/output?key={key}&wait=true")
    await commands.client.post(f"/commands/sh/input?key={key}", content=b"second")
    offset = first.headers["x-next-offset"]
    second = await commands.client.get(f"/commands/sh/output?key={key}&offset={offset}&wait=true")

    assert (first.content, offset) == (b"first\n", "6")
    # As it was before the output was read, so that an end means that there is no more.
    assert first.headers["x-job-status"] in ("pending", "working")
    assert (second.content, second.headers["x-next-offset"]) == (b"second", "12")


async def test_output_can_be_read_again_from_any_offset(commands: CommandDaemon) -> None:
    key = await commands.start("keep", args=["0123456789"])
    await commands.report("keep", key)

    part = await commands.client.get(f"/commands/keep/output?key={key}&offset=3&limit=4")
    beyond = await commands.client.get(f"/commands/keep/output?key={key}&offset=999&wait=true")

    assert (part.content, part.headers["x-next-offset"]) == (b"3456", "7")
    assert (beyond.content, beyond.headers["x-job-status"]) == (b"", "finished")


async def test_stderr_has_offsets_of_its_own(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["printf out; printf error >&2"], retention="keep")
    await commands.report("sh", key)

    response = await commands.client.get(f"/commands/sh/output?key={key}&stream=stderr&offset=1")

    assert response.content == b"rror"


async def test_a_page_of_no_possible_length_is_refused(commands: CommandDaemon) -> None:
    for limit in ("0", "1001", "-1", "0000000011111", "x", ""):
        response = await commands.client.get("/commands/keep/jobs", params={"limit": limit})

        assert (response.status_code, response.json()["code"]) == (400, "bad_request")


async def test_a_place_that_is_none_is_refused(commands: CommandDaemon) -> None:
    key = await commands.start("keep", args=["x"])

    for query in ("offset=-1", "offset=x", "stream=stdin", "limit=1e3"):
        response = await commands.client.get(f"/commands/keep/output?key={key}&{query}")

        assert (response.status_code, response.json()["code"]) == (400, "bad_request")


async def test_events_tell_output_progress_and_the_end(commands_anywhere: CommandDaemon) -> None:
    key = await commands_anywhere.start("sh", args=[f"{SLOW}; exit 3"])

    events = await read_events(commands_anywhere.client, f"/commands/sh?key={key}")

    assert join(events, "stdout") == "line 1\nline 2\nline 3\n"
    assert join(events, "stderr") == "err 1\nerr 2\nerr 3\n"
    progress = [event for event in events if event["event"] == "progress"]
    assert progress[-1]["stdout_bytes"] == 21
    assert progress[-1]["elapsed_s"] > 0.2
    assert events[-1] | {"id": ""} == {"event": "end", "id": "", "key": key, "status": "finished", "returncode": 3}
    assert (await commands_anywhere.report("sh", key))["returncode"] == 3


async def test_events_do_not_look_whole_when_the_job_was_read_and_forgotten_meanwhile(
    commands: CommandDaemon,
) -> None:
    key = await commands.start("sh", args=["head -c 20000000 /dev/zero"])
    await commands.ends("sh")
    names = []
    path, accept = f"/commands/sh?key={key}", {"Accept": "text/event-stream"}
    async with commands.client.stream("GET", path, headers=accept) as response:
        lines = response.aiter_lines()
        names.append(await anext(lines))
        assert (await commands.get("sh", key)).status_code == 200

        names += [line async for line in lines if line.startswith("event: ")]

    assert names[-1] == "event: error"
    assert "event: end" not in names


async def test_events_go_on_where_a_reader_lost_them(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["echo one; echo two; printf e >&2"])
    path = f"/commands/sh/output?key={key}"
    await read_events(commands.client, path)

    events = await read_events(commands.client, path, **{"Last-Event-ID": "4-0"})

    assert (join(events, "stdout"), join(events, "stderr")) == ("two\n", "e")
    assert events[-1]["id"] == "8-1"


async def test_events_tell_binary_output_in_base64(commands: CommandDaemon) -> None:
    key = await commands.start("cat", stdin_b64="//4=")

    events = await read_events(commands.client, f"/commands/cat?key={key}")

    assert [event["data_b64"] for event in events if event["event"] == "output"] == ["//4="]


async def test_a_character_is_not_cut_between_two_events(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["printf '\\303'; sleep 0.2; printf '\\244\\n'"])

    events = await read_events(commands.client, f"/commands/sh?key={key}")

    assert join(events, "stdout") == "ä\n"


async def test_input_comes_with_the_request(commands: CommandDaemon) -> None:
    assert (await commands.run("cat", stdin="typed"))["report"] == "typed"


async def test_a_command_that_reads_is_not_left_waiting_for_nobody(commands: CommandDaemon) -> None:
    assert (await commands.run("cat"))["returncode"] == 0


async def test_input_can_be_sent_later_and_ended(commands: CommandDaemon) -> None:
    key = await commands.start("cat", keep_stdin=True)
    path = f"/commands/cat/input?key={key}"

    sent = await commands.client.post(path, content=b"typed")
    ended = await commands.client.post(f"{path}&end=true")

    assert (sent.status_code, ended.status_code) == (204, 204)
    assert (await commands.report("cat", key))["report"] == "typed"


async def test_input_is_refused_where_none_is_taken(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    response = await commands.client.post(f"/commands/sh/input?key={key}", content=b"x")

    assert (response.status_code, response.json()["code"]) == (409, "not_running")


async def test_a_token_that_may_only_watch_cannot_stop_or_type(commands: CommandDaemon) -> None:
    commands.http.allow(rights=["start", "view"])
    key = await commands.start("sh", args=["cat"], keep_stdin=True)

    deleted = await commands.client.delete(f"/commands/sh?key={key}")
    typed = await commands.client.post(f"/commands/sh/input?key={key}", content=b"x")

    assert [(r.status_code, r.json()["code"]) for r in (deleted, typed)] == [(403, "right_missing")] * 2
    assert (await commands.get("sh", key)).json()["status"] == "running"


async def test_jobs_are_listed_page_by_page(commands: CommandDaemon) -> None:
    keys = [await commands.start("keep", args=[str(number)]) for number in range(5)]

    first = (await commands.client.get("/commands/keep/jobs?limit=3")).json()
    second = (await commands.client.get(f"/commands/keep/jobs?limit=3&after={first['after']}")).json()

    assert [job["key"] for job in first["jobs"] + second["jobs"]] == keys
    assert second["after"] is None
    url = first["jobs"][0]["result_url"]
    assert url.endswith(f"/commands/keep?key={keys[0]}&wait=false")
    assert (await commands.client.get(url)).status_code == 200


async def test_a_list_holds_only_ones_own_jobs(commands: CommandDaemon) -> None:
    commands.http.allow("other", principal="other")
    await commands.start("keep", args=["x"])

    theirs = await commands.client.get("/commands/keep/jobs", headers={"Authorization": "Bearer other"})

    assert theirs.json()["jobs"] == []


async def test_a_kept_result_can_be_read_again_and_deleted(commands: CommandDaemon) -> None:
    key = await commands.start("keep", args=["x"])
    reports = [await commands.report("keep", key) for _ in range(2)]

    assert reports[0] == reports[1]
    assert (await commands.post("keep", args=["x"])).status_code == 400
    assert (await commands.client.delete(f"/commands/keep?key={key}")).status_code == 204
    assert (await commands.client.delete(f"/commands/keep?key={key}")).status_code == 404


async def test_a_request_may_choose_the_retention(commands: CommandDaemon) -> None:
    once = await commands.start("keep", args=["x"], retention="once")
    await commands.report("keep", once)

    assert (await commands.get("keep", once)).status_code == 404


async def test_a_request_that_is_sent_again_is_done_once(commands: CommandDaemon, tmp_path: Any) -> None:
    headers = {"Idempotency-Key": "order-66"}
    fields = {"args": [f"echo x >> {tmp_path}/runs"]}

    answers = await asyncio.gather(
        *(commands.client.post("/commands/sh", json=fields, headers=headers) for _ in range(5))
    )

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["key"] for answer in answers}) == 1
    await commands.report("sh", answers[0].json()["key"])
    assert (tmp_path / "runs").read_text() == "x\n"


@pytest.mark.parametrize(
    "changes",
    [
        {"args": ["y"]},
        {"stdin": "y"},
        {"stdin": ""},
        {"timeout": 5},
        {"callback_context": {"a": 1}},
        {"keep_stdin": True},
        {"retention": "once"},
        {"priority": -1},
        {"force_unique_key": True},
    ],
    ids=str,
)
async def test_an_idempotency_key_of_another_request_is_refused(
    commands: CommandDaemon, changes: dict[str, object]
) -> None:
    headers = {"Idempotency-Key": "order-67"}
    await commands.client.post("/commands/keep", json={"args": ["x"]}, headers=headers)

    other = await commands.client.post("/commands/keep", json={"args": ["x"], **changes}, headers=headers)
    bad = await commands.client.post("/commands/keep", json={}, headers={"Idempotency-Key": "two words"})

    assert (other.status_code, other.json()["code"]) == (409, "idempotency_conflict")
    assert (bad.status_code, bad.json()["code"]) == (400, "bad_request")


async def test_an_idempotency_key_is_its_owners(commands: CommandDaemon) -> None:
    commands.http.allow("other", principal="other")
    headers = {"Idempotency-Key": "order-68"}
    mine = await commands.client.post("/commands/keep", json={"args": ["x"]}, headers=headers)

    theirs = await commands.client.post(
        "/commands/keep", json={"args": ["y"]}, headers={**headers, "Authorization": "Bearer other"}
    )

    assert theirs.status_code == 202
    assert theirs.json()["key"] != mine.json()["key"]


async def test_a_command_runs_no_more_often_at_a_time_than_it_may(commands: CommandDaemon, tmp_path: Any) -> None:
    line = f"mkdir {tmp_path}/alone || echo together; sleep 0.05; rmdir {tmp_path}/alone"

    keys = [await commands.start("one", args=[line], force_unique_key=True) for _ in range(4)]

    reports = await asyncio.gather(*(commands.report("one", key) for key in keys))
    assert [(report["report"], report["error"]) for report in reports] == [("", "")] * 4


async def test_what_is_less_urgent_waits_for_the_rest(commands: CommandDaemon, tmp_path: Any) -> None:
    gate = await commands.start("one", args=["cat"], keep_stdin=True)
    low = await commands.start("one", args=[f"echo low >> {tmp_path}/order"], priority=-5)
    high = await commands.start("one", args=[f"echo high >> {tmp_path}/order"])

    await commands.client.delete(f"/commands/one?key={gate}")
    await asyncio.gather(commands.report("one", low), commands.report("one", high))

    assert (tmp_path / "order").read_text() == "high\nlow\n"


async def test_waiting_ends_at_the_time_that_was_named(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    response = await commands.get("sh", key, wait="true", timeout="0.1")

    assert response.json()["status"] == "running"


async def test_a_time_to_wait_that_is_none_is_refused(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    for timeout in ("-1", "0", "1e9", "1000000000", "x", ""):
        response = await commands.get("sh", key, wait="true", timeout=timeout)

        assert (response.status_code, response.json()["code"]) == (400, "bad_timeout")


async def test_a_client_that_leaves_consumes_nothing(commands_anywhere: CommandDaemon) -> None:
    key = await commands_anywhere.start("sh", args=["cat"], keep_stdin=True)
    async with commands_anywhere.http.raw() as connection:
        connection.send("GET", f"/commands/sh?key={key}&wait=true")
        await connection.writer.drain()
        # Its request is being served when another, sent later, has been.
        await commands_anywhere.get("sh", key)

    await commands_anywhere.client.post(f"/commands/sh/input?key={key}&end=true", content=b"still there")

    assert (await commands_anywhere.report("sh", key))["report"] == "still there"


async def test_results_outlive_the_daemon(tmp_path: Any) -> None:
    async with run_command_daemon(tmp_path) as first:
        key = await first.start("keep", args=["x"])
        before = await first.report("keep", key)

    async with run_command_daemon(tmp_path) as second:
        assert await second.report("keep", key) == before


async def test_a_daemon_that_drains_starts_nothing_and_tells_what_it_has(commands: CommandDaemon) -> None:
    key = await commands.start("keep", args=["x"])
    await commands.report("keep", key)
    commands.http.app.begin_drain()

    started = await commands.post("keep", args=["y"])

    assert (started.status_code, started.json()["code"]) == (503, "draining")
    assert (await commands.get("keep", key)).status_code == 200


async def test_too_many_jobs_are_refused_with_the_time_to_come_back(start_commands: StartCommands) -> None:
    commands = await start_commands(max_jobs_running=1, max_jobs_waiting=1)
    await commands.start("sh", args=["sleep 1000"])
    answers = [await commands.post("sh", args=[f"sleep 1000 # {number}"]) for number in range(3)]

    refused = answers[-1]

    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) > 0
