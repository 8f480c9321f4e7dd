"""`/payloads`: what the PERICLES handlers' clients know, what was wrong with them, and what is new, with curl."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from http_daemon import Curled, HttpDaemon, run_http_daemon
from observing import is_alive, until

Start = Callable[..., Awaitable[HttpDaemon]]
WAIT_S = 10.0
CASES = {
    "HT-29": "test_payload_door.py::test_a_deleted_payload_is_gone_and_deleting_it_again_is_404",
    "HT-34": "test_payload_door.py::test_another_method_is_405_and_told_which_there_are",
}
"""Which test stands for which case of the catalogue of bad input."""


@pytest_asyncio.fixture
async def daemon(start_http: Start, tmp_path: Path) -> HttpDaemon:
    """A daemon with the payload door, on either server."""
    return await start_http(payloads_door=True, state_dir=str(tmp_path))


async def submit(daemon: HttpDaemon, body: object, **headers: str) -> dict[str, Any]:
    """Post a payload and return what the daemon says of it."""
    answer = await daemon.client.post("/payloads", content=json.dumps(body), headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sh(script: str, **more: Any) -> dict[str, Any]:
    """Return a request that runs a shell script."""
    return {"cmd": "/bin/sh", "params": ["-c", script], **more}


async def get(daemon: HttpDaemon, job_id: str, **headers: str) -> httpx.Response:
    return await daemon.client.get(f"/payloads/{job_id}", headers=headers)


async def finish(daemon: HttpDaemon, body: object) -> dict[str, Any]:
    """Post a payload and return it when it has ended."""
    job_id = (await submit(daemon, body))["id"]
    return await wait_until(daemon, job_id, lambda status: status not in ("pending", "working"))


async def wait_until(daemon: HttpDaemon, job_id: str, is_it: Callable[[str], bool]) -> dict[str, Any]:
    """Ask for a payload until its status is what is waited for, and return it."""
    async with asyncio.timeout(WAIT_S):
        while not is_it((found := (await get(daemon, job_id)).json())["status"]):  # noqa: ASYNC110 - over HTTP
            await asyncio.sleep(0.005)
    return dict(found)


async def curl(daemon: HttpDaemon, *args: str) -> Curled:
    curled = await daemon.curl(*args)
    assert curled.exit_code == 0, curled.err
    return curled


# What the handlers' clients know.


async def test_a_payload_is_posted_with_plain_curl_and_answered_with_its_id(daemon: HttpDaemon) -> None:
    curled = await curl(daemon, "-i", "-d", '{"cmd": "echo", "params": ["hi"]}', "{url}/payloads")

    head, _, body = curled.out.partition(b"\r\n\r\n")
    payload = json.loads(body)
    assert head.startswith(b"HTTP/1.1 201 ")
    assert (payload["cmd"], payload["params"]) == ("echo", ["hi"])
    assert payload["status"] in ("pending", "working")
    assert len(payload["id"]) == 32
    assert set(payload["id"]) <= set("0123456789abcdef")
    assert f"location: /payloads/{payload['id']}\r\n" in head.decode().lower() + "\r\n"
    assert b'\n    "status": ' in body, "indented by four, for people"


async def test_the_keys_of_the_sources_are_taken_too(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, {"Cmd": "echo", "Params": ["hi"]})

    assert (payload["status"], payload["cmd"], payload["output"]) == ("finished", "echo", "hi\n")


async def test_all_payloads_are_listed_in_the_order_they_came(daemon: HttpDaemon) -> None:
    ids = [(await submit(daemon, {"cmd": "true", "params": []}))["id"] for _ in range(3)]

    curled = await curl(daemon, "{url}/payloads")

    assert [payload["id"] for payload in json.loads(curled.out)] == ids


async def test_an_unknown_payload_is_404(daemon: HttpDaemon) -> None:
    for path in ("/payloads/" + "0" * 32, "/payloads/x", "/payloads/", "/payloads/..%2fx"):
        assert (await daemon.client.get(path)).status_code == 404, path


async def test_statuses_go_from_pending_over_working_to_finished(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(payloads_door=True, state_dir=str(tmp_path / "state"), max_jobs_running=1)
    first = await submit(daemon, sh("sleep 1000"))
    second = await submit(daemon, sh("true"))

    await wait_until(daemon, first["id"], lambda status: status == "working")
    seen = [(await get(daemon, second["id"])).json()["status"]]
    await daemon.client.delete(f"/payloads/{first['id']}")
    seen.append((await wait_until(daemon, second["id"], lambda status: status == "finished"))["status"])

    assert seen == ["pending", "finished"]


@pytest.mark.parametrize(
    ("cmd", "status"),
    [
        ("no-such", "error:start('no-such':No such file or directory"),
        ("/no/such", "error:start('/no/such':No such file or directory"),
        ("/etc/passwd", "error:start('/etc/passwd':Permission denied"),
    ],
)
async def test_a_command_that_cannot_start_is_an_error_with_its_odd_parenthesis(
    daemon: HttpDaemon, cmd: str, status: str
) -> None:
    assert (await finish(daemon, {"cmd": cmd, "params": []}))["status"] == status


async def test_whatever_is_written_to_stderr_makes_an_error(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, sh("echo a; echo warning >&2"))

    assert payload["status"] == "error:start (warning)"


async def test_the_exit_code_alone_makes_none(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, {"cmd": "false", "params": []})

    assert (payload["status"], payload["exit_code"]) == ("finished", 1)


@pytest.mark.parametrize(
    "body",
    [
        "{",
        "",
        "[]",
        "null",
        '"x"',
        "{}",
        '{"cmd": "true"}',
        '{"params": []}',
        '{"cmd": "true", "params": "x"}',
        '{"cmd": "true", "params": [1]}',
        '{"cmd": "true", "params": null}',
        '{"cmd": 1, "params": []}',
        '{"cmd": "", "params": []}',
        '{"cmd": "bin/true", "params": []}',
        '{"cmd": "true", "Cmd": "false", "params": []}',
        '{"cmd": "true", "params": [], "cmd": "false"}',
        '{"cmd": "true", "params": [], "timeout": 0}',
        '{"cmd": "true", "params": [], "timeout": "1"}',
    ],
)
async def test_bad_input_is_400_and_starts_nothing(daemon: HttpDaemon, body: str) -> None:
    answer = await daemon.client.post("/payloads", content=body)

    assert answer.status_code == 400
    assert (await daemon.client.get("/payloads")).json() == []


# What was wrong with them.


async def test_defect_concurrent_gets_returned_other_payloads(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(payloads_door=True, state_dir=str(tmp_path))
    payloads = [await submit(daemon, {"cmd": "echo", "params": [str(n)]}) for n in range(20)]
    wanted = [payloads[n % 20] for n in range(1000)]

    answers = await asyncio.gather(*(get(daemon, payload["id"]) for payload in wanted))

    assert [a.status_code for a in answers] == [200] * 1000
    assert [(a.json()["id"], a.json()["params"]) for a in answers] == [(p["id"], p["params"]) for p in wanted]


async def test_defect_output_was_thrown_away(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, sh("echo out; printf '\\377' >&2; exit 3"))

    assert (payload["output"], payload["exit_code"], payload["signal"]) == ("out\n", 3, None)
    assert (payload["error_output"], payload["error_output_base64"]) == ("\ufffd", "/w==")
    assert payload["created_at"] <= payload["started_at"] <= payload["ended_at"]


async def test_defect_large_output_can_be_read_in_pieces(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, sh("head -c 3000000 /dev/zero | tr '\\0' x"))

    piece = await daemon.client.get(f"/payloads/{payload['id']}/output?offset=2999990")

    assert (len(payload["output"]), payload["is_truncated"], payload["output_bytes"]) == (2**20, True, 3_000_000)
    assert piece.text == "x" * 10


async def test_defect_nothing_could_be_stopped(daemon: HttpDaemon, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    payload = await submit(daemon, sh(f"sleep 1000 & echo $! > {pid}; wait"))
    await until(lambda: pid.exists() and pid.read_text().strip())
    child = int(pid.read_text())

    curled = await curl(daemon, "-X", "DELETE", "-w", "%{http_code}", "{url}/payloads/" + payload["id"])

    assert curled.out == b"204"
    await until(lambda: not is_alive(child), timeout_s=1.0)
    assert (await get(daemon, payload["id"])).status_code == 404


async def test_defect_nothing_ended_in_time(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, sh("echo hi; sleep 1000", timeout=0.2))

    assert (payload["status"], payload["state"]) == ("error:timed out after 0.2 seconds", "timed_out")
    assert payload["output"] == "hi\n"


async def test_defect_parameters_of_the_wrong_type_left_a_payload_pending_for_ever(daemon: HttpDaemon) -> None:
    answer = await daemon.client.post("/payloads", json={"cmd": "true", "params": {"a": 1}})

    assert answer.status_code == 400


async def test_defect_payloads_were_in_memory_only(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"payloads_door": True, "state_dir": str(tmp_path)}
    async with run_http_daemon(**settings) as daemon:
        payload = await finish(daemon, {"cmd": "echo", "params": ["hi"]})

    async with run_http_daemon(**settings) as daemon:
        assert (await get(daemon, payload["id"])).json() == payload


async def test_defect_everybody_could_do_everything(daemon: HttpDaemon) -> None:
    payload = await submit(daemon, sh("sleep 1000"))
    path = f"/payloads/{payload['id']}"
    daemon.allow("stranger")
    daemon.allow("named", principal="somebody")

    for token in ("stranger", "named", "nobody-knows"):
        bearer = {"Authorization": f"Bearer {token}"}
        for method in ("GET", "DELETE"):
            answer = await daemon.client.request(method, path, headers=bearer)
            assert answer.status_code == 404, (token, method)
    assert (await daemon.client.get("/payloads", headers={"Authorization": "Bearer stranger"})).json() == []
    assert (await daemon.client.get(path, headers={"Authorization": ""})).status_code == 401
    assert (await get(daemon, payload["id"])).status_code == 200


@pytest.mark.parametrize("answer", [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", None])
async def test_whether_a_payload_is_there_is_told_by_nothing(daemon: HttpDaemon, answer: bytes | None) -> None:
    payload = await submit(daemon, sh("true"))
    if answer is not None:
        daemon.grants["stranger"] = answer
    seen = []

    for payload_id in (payload["id"], "0" * 32):
        asked = len(daemon.questions)
        found = await get(daemon, payload_id, Authorization="Bearer stranger")
        seen.append((found.status_code, found.content, len(daemon.questions) - asked))

    assert seen[0] == seen[1]


# What is new.


async def test_another_token_of_the_same_principal_may_look_and_stop(daemon: HttpDaemon) -> None:
    daemon.allow(principal="lab")
    daemon.allow("other", principal="lab")
    payload = await submit(daemon, sh("sleep 1000"))
    bearer = {"Authorization": "Bearer other"}

    found = await get(daemon, payload["id"], **bearer)
    listed = await daemon.client.get("/payloads", headers=bearer)
    gone = await daemon.client.delete(f"/payloads/{payload['id']}", headers=bearer)

    assert found.json()["id"] == payload["id"]
    assert [item["id"] for item in listed.json()] == [payload["id"]]
    assert gone.status_code == 204


async def test_who_may_only_watch_does_not_stop(daemon: HttpDaemon) -> None:
    daemon.allow(read_only=True)
    payload = await submit(daemon, sh("sleep 1000"))

    assert (await daemon.client.delete(f"/payloads/{payload['id']}")).status_code == 403
    assert (await get(daemon, payload["id"])).status_code == 200


async def test_the_token_that_began_it_is_enough_to_look_though_nobody_knows_it_any_more(daemon: HttpDaemon) -> None:
    payload = await submit(daemon, sh("true"))
    daemon.grants.clear()
    asked = len(daemon.questions)

    assert (await get(daemon, payload["id"])).status_code == 200
    assert len(daemon.questions) == asked, "and nobody is asked"
    assert [item["id"] for item in (await daemon.client.get("/payloads")).json()] == [payload["id"]]


async def test_a_token_that_may_not_is_refused(daemon: HttpDaemon) -> None:
    daemon.grants.clear()

    assert (await daemon.client.post("/payloads", json=sh("true"))).status_code == 403
    assert (await daemon.client.get("/payloads")).status_code == 403


async def test_the_gate_is_asked_for_what_is_proposed(daemon: HttpDaemon) -> None:
    await submit(daemon, {"cmd": "echo", "params": ["a", "b"]})

    (question,) = daemon.questions
    assert (question["door"], question["command"], question["args"]) == ("payloads", "/usr/bin/echo", ["a", "b"])


async def test_pages_follow_each_other_by_their_links(daemon: HttpDaemon) -> None:
    ids = [(await submit(daemon, {"cmd": "true", "params": []}))["id"] for _ in range(5)]
    found, page = [], "/payloads?limit=2"

    while page:
        answer = await daemon.client.get(page)
        found.append([item["id"] for item in answer.json()])
        page = answer.links["next"]["url"] if "next" in answer.links else ""

    assert found == [ids[:2], ids[2:4], ids[4:]]


@pytest.mark.parametrize("limit", ["0", "-1", "1001", "x", "", "1e2", "٣"])
async def test_a_page_of_no_sensible_size_is_400(daemon: HttpDaemon, limit: str) -> None:
    assert (await daemon.client.get("/payloads", params={"limit": limit})).status_code == 400


async def test_a_deleted_payload_is_gone_and_deleting_it_again_is_404(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, sh("true"))
    path = f"/payloads/{payload['id']}"

    first, second = [(await daemon.client.delete(path)).status_code for _ in range(2)]

    assert (first, second) == (204, 404)
    assert (await daemon.client.get("/payloads")).json() == []


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("PUT", "/payloads", "GET, HEAD, POST"),
        ("DELETE", "/payloads", "GET, HEAD, POST"),
        ("OPTIONS", "/payloads", "GET, HEAD, POST"),
        ("POST", "/payloads/x", "GET, HEAD, DELETE"),
        ("PATCH", "/payloads/x", "GET, HEAD, DELETE"),
        ("DELETE", "/payloads/x/output", "GET, HEAD"),
    ],
)
async def test_another_method_is_405_and_told_which_there_are(
    daemon: HttpDaemon, method: str, path: str, allow: str
) -> None:
    answer = await daemon.client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_head_answers_as_get_without_a_body_and_takes_nothing_away(daemon: HttpDaemon) -> None:
    payload = await finish(daemon, sh("echo hi"))
    path = f"/payloads/{payload['id']}"

    head, got = await daemon.client.head(path), await daemon.client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert got.json() == payload


async def test_a_page_of_a_foreign_site_cannot_post(daemon: HttpDaemon) -> None:
    headers = {"Origin": "http://evil.example", "Content-Type": "text/plain"}

    unasked = await daemon.client.post("/payloads", content=b"{}", headers={**headers, "Authorization": ""})
    asked = await daemon.client.options(
        "/payloads", headers={**headers, "Access-Control-Request-Headers": "authorization"}
    )

    assert unasked.status_code == 403
    assert "access-control-allow-origin" not in asked.headers


async def test_without_its_setting_the_door_is_not_there(start_http: Start) -> None:
    daemon = await start_http()

    assert (await daemon.client.get("/payloads")).status_code == 404


async def test_below_a_base_path_locations_and_links_are_too(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(payloads_door=True, state_dir=str(tmp_path), base_path="/lab")

    answer = await daemon.client.post("/lab/payloads", json=sh("true"))
    page = await daemon.client.get("/lab/payloads?limit=1")

    assert (await daemon.client.get(answer.headers["location"])).json()["id"] == answer.json()["id"]
    assert (await daemon.client.get(page.links["next"]["url"])).json() == []


def test_every_case_names_a_test_that_is_there() -> None:
    here = Path(__file__).parent
    for place in CASES.values():
        file, _, name = place.partition("::")
        assert f"def {name}(" in (here / file).read_text(), place
