"""The command door as Flask-Shell2HTTP's clients know it: their library, their statuses, their fields and texts."""

import asyncio
import json
from typing import Any

import pytest
import requests
from command_daemon import CommandDaemon
from http_daemon import BEARER

MISSING = "[Errno 2] No such file or directory: '/nowhere/missing'"


async def ask(method: str, url: str, **options: Any) -> requests.Response:
    """Send a request as the users of the extension do."""

    def send() -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(method, url, headers=BEARER | options.pop("headers", {}), timeout=10, **options)

    return await asyncio.to_thread(send)


async def test_a_command_is_started_and_its_report_fetched(commands_anywhere: CommandDaemon) -> None:
    url = f"{commands_anywhere.http.url}/commands/echo"

    started = await ask("POST", url, json={"args": ["Hello", "World!"], "timeout": 60})
    report = await ask("GET", f"{url}?key={started.json()['key']}&wait=true")

    assert started.status_code == 202
    key = started.json()["key"]
    assert started.json() == {"key": key, "result_url": f"{url}?key={key}&wait=false", "status": "running"}
    assert report.status_code == 200
    fields = report.json()
    assert (fields["key"], fields["report"], fields["error"], fields["returncode"]) == (key, "Hello World!\n", "", 0)
    assert fields["process_time"] == fields["end_time"] - fields["start_time"]
    assert report.headers["content-type"] == "application/json"


async def test_the_result_url_leads_to_the_report(commands_anywhere: CommandDaemon) -> None:
    url = f"{commands_anywhere.http.url}/commands/echo"

    started = (await ask("POST", url, json={"args": ["x"]})).json()
    async with asyncio.timeout(10):
        while (found := (await ask("GET", started["result_url"])).json())["status"] == "running":
            assert found == started

    assert found["report"] == "x\n"


async def test_a_job_that_runs_says_so(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    running = await commands.get("sh", key)

    url = f"{commands.http.url}/commands/sh?key={key}&wait=false"
    assert (running.status_code, running.json()) == (200, {"status": "running", "key": key, "result_url": url})


async def test_waiting_is_spelled_in_any_case(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 0.1; echo done"])

    assert (await commands.get("sh", key, wait="TrUe")).json()["report"] == "done\n"


async def test_a_report_is_read_once_and_its_key_is_free_then(commands: CommandDaemon) -> None:
    key = await commands.start("echo", args=["x"])
    await commands.report("echo", key)

    again = await commands.get("echo", key)

    assert (again.status_code, again.json()["error"]) == (404, f"No report exists for key: '{key}'.")
    assert await commands.start("echo", args=["x"]) == key


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_request_without_a_key_is_told_so(commands: CommandDaemon, method: str) -> None:
    for query in ("", "?key="):
        response = await commands.client.request(method, f"/commands/echo{query}")

        assert (response.status_code, response.json()["error"]) == (400, "No key provided in arguments.")


@pytest.mark.parametrize(("method", "what"), [("GET", "report"), ("DELETE", "job")])
async def test_an_unknown_key_is_told_so(commands: CommandDaemon, method: str, what: str) -> None:
    response = await commands.client.request(method, "/commands/echo?key=ddbe0a94")

    assert (response.status_code, response.json()["error"]) == (404, f"No {what} exists for key: 'ddbe0a94'.")


async def test_a_key_that_is_there_is_refused_with_its_result_url(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    taken = await commands.post("sh", args=["sleep 1000"])

    assert taken.status_code == 400
    fields = taken.json()
    assert (fields["error"], fields["key"]) == (f"future_key {key} already exists", key)
    assert fields["result_url"].endswith(f"/commands/sh?key={key}&wait=false")


async def test_a_unique_key_lets_the_same_run_twice(commands: CommandDaemon) -> None:
    keys = [await commands.start("echo", args=["x"], force_unique_key=True) for _ in range(2)]

    assert len(set(keys)) == 2
    assert [(await commands.report("echo", key))["report"] for key in keys] == ["x\n", "x\n"]


async def test_a_command_that_cannot_start_is_accepted_and_reported(commands: CommandDaemon) -> None:
    started = await commands.post("missing")

    report = await commands.get("missing", started.json()["key"], wait="true")

    assert started.status_code == 202
    assert (report.status_code, report.json()["error"]) == (400, MISSING)


async def test_deleting_answers_without_a_body(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    response = await commands.client.delete(f"/commands/sh?key={key}")

    assert (response.status_code, response.content) == (204, b"")
    assert (await commands.get("sh", key)).status_code == 404


async def test_time_that_is_up_is_reported_in_the_old_words(commands: CommandDaemon) -> None:
    report = await commands.run("sh", args=["echo so far; sleep 1000"], timeout=1)

    assert report["returncode"] == -9
    assert report["error"] == "command timedout after 1 seconds."
    assert report["report"] == "so far\n"


async def test_exit_codes_and_signals_are_those_of_python(commands: CommandDaemon) -> None:
    assert (await commands.run("sh", args=["exit 3"]))["returncode"] == 3
    assert (await commands.run("sh", args=["kill -TERM $$"]))["returncode"] == -15


async def test_what_a_command_writes_to_stderr_is_its_error(commands: CommandDaemon) -> None:
    report = await commands.run("sh", args=["echo out; echo err >&2"])

    assert (report["report"], report["error"]) == ("out\n", "err\n")


async def test_a_post_without_a_body_runs_the_bare_command(commands: CommandDaemon) -> None:
    curled = await commands.http.curl("-X", "POST", "{url}/commands/fixed")
    report = await commands.report("fixed", json.loads(curled.out)["key"])

    assert report["report"] == "always this\n"


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("PUT", "/commands/echo", 405, {"GET", "HEAD", "POST", "DELETE"}),
        ("PATCH", "/commands/echo/output", 405, {"GET", "HEAD"}),
        ("GET", "/commands/echo/input", 405, {"POST"}),
        ("POST", "/commands/echo/jobs", 405, {"GET", "HEAD"}),
        ("POST", "/commands/unknown", 404, None),
        ("POST", "/commands/%65cho", 404, None),
    ],
)
async def test_other_methods_and_paths_are_refused(
    commands: CommandDaemon, method: str, path: str, status: int, allow: set[str] | None
) -> None:
    response = await commands.client.request(method, path)

    assert response.status_code == status
    if allow is not None:
        assert {name.strip() for name in response.headers["allow"].split(",")} == allow


BAD = [
    (b"{", 400, "bad_json"),
    (b"", 400, "bad_json"),
    (b'{"args": [], "args": ["x"]}', 400, "bad_json"),
    (b'{"timeout": NaN}', 400, "bad_json"),
    (b"[" * 100_000, 400, "bad_json"),
    (b"[]", 400, "bad_schema"),
    (b'"x"', 400, "bad_schema"),
    (b'{"args": "-l"}', 400, "bad_schema"),
    (b'{"args": [1]}', 400, "bad_schema"),
    (b'{"args": null}', 400, "bad_schema"),
    (b'{"args": ["a\\u0000b"]}', 400, "bad_schema"),
    (b'{"args": ["\\ud800"]}', 400, "bad_schema"),
    (b'{"timeout": 0}', 400, "bad_timeout"),
    (b'{"timeout": -1}', 400, "bad_timeout"),
    (b'{"timeout": "60"}', 400, "bad_timeout"),
    (b'{"timeout": null}', 400, "bad_timeout"),
    (b'{"timeout": true}', 400, "bad_timeout"),
    (b'{"timeout": 1e400}', 400, "bad_timeout"),
    (b'{"force_unique_key": 1}', 400, "bad_schema"),
    (b'{"callback_context": []}', 400, "bad_schema"),
    (b'{"stdin": 1}', 400, "bad_schema"),
    (b'{"stdin_b64": "?"}', 400, "bad_schema"),
    (b'{"stdin": "a", "stdin_b64": "YQ=="}', 400, "bad_schema"),
    (b'{"keep_stdin": "yes"}', 400, "bad_schema"),
    (b'{"retention": "for ever"}', 400, "bad_schema"),
    (b'{"priority": 1}', 400, "bad_schema"),
    (b'{"callback_url": "https://example.com/"}', 400, "callback_denied"),
]


async def test_what_cannot_be_used_is_refused_and_runs_nothing(commands: CommandDaemon) -> None:
    told = []
    for body, _, _ in BAD:
        response = await commands.client.post(
            "/commands/echo", content=body, headers={"Content-Type": "application/json"}
        )
        assert response.json()["error"]
        told.append((body, response.status_code, response.json()["code"]))

    assert told == BAD
    assert (await commands.client.get("/commands/echo/jobs")).json()["jobs"] == []


async def test_unknown_fields_are_ignored(commands: CommandDaemon) -> None:
    assert (await commands.run("echo", args=["x"], colour="red"))["report"] == "x\n"


async def test_a_command_may_take_no_arguments(commands: CommandDaemon) -> None:
    refused = await commands.post("fixed", args=["x"])

    assert (refused.status_code, refused.json()["code"]) == (400, "bad_schema")


async def test_who_shows_no_token_or_a_wrong_one_is_refused(commands: CommandDaemon) -> None:
    key = await commands.start("sh", args=["sleep 1000"])

    for method, path in (("POST", ""), ("GET", f"?key={key}"), ("DELETE", f"?key={key}"), ("GET", "/jobs")):
        nobody = await commands.client.request(method, f"/commands/sh{path}", headers={"Authorization": ""})
        wrong = await commands.client.request(method, f"/commands/sh{path}", headers={"Authorization": "Bearer wrong"})

        assert (nobody.status_code, nobody.headers["www-authenticate"]) == (401, "Bearer")
        assert (wrong.status_code, wrong.json()["code"]) == (403, "denied")


async def test_the_controller_is_asked_with_the_whole_command_line(commands: CommandDaemon) -> None:
    await commands.run("sh", args=["true", "b c"])

    question = commands.http.questions[0]
    assert (question["door"], question["command"]) == ("commands", "/bin/sh")
    assert question["args"] == ["-c", "true", "b c"]


async def test_what_was_granted_is_what_runs(commands: CommandDaemon) -> None:
    commands.http.allow(args=["granted instead"])

    assert (await commands.run("echo", args=["asked"]))["report"] == "granted instead\n"


async def test_a_foreign_page_is_refused(commands: CommandDaemon) -> None:
    response = await commands.client.post("/commands/echo", json={}, headers={"Origin": "https://evil.example"})

    assert (response.status_code, response.json()["code"]) == (403, "origin_denied")


async def test_a_problem_is_told_as_one_to_who_asks_for_it(commands: CommandDaemon) -> None:
    response = await commands.client.get("/commands/echo?key=x", headers={"Accept": "application/problem+json"})

    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["detail"] == "No report exists for key: 'x'."
