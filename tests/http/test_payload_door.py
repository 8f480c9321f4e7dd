"""`/payloads` as the PERICLES handlers' clients know it, with curl."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from http_daemon import HttpDaemon
from payload_asking import curl, finish, get, sh, submit, wait_until

Start = Callable[..., Awaitable[HttpDaemon]]


async def test_a_payload_is_posted_with_plain_curl_and_answered_with_its_id(payloads: HttpDaemon) -> None:
    curled = await curl(payloads, "-i", "-d", '{"cmd": "echo", "params": ["hi"]}', "{url}/payloads")

    head, _, body = curled.out.partition(b"\r\n\r\n")
    payload = json.loads(body)
    assert head.startswith(b"HTTP/1.1 201 ")
    assert (payload["cmd"], payload["params"]) == ("echo", ["hi"])
    assert payload["status"] in ("pending", "working")
    assert len(payload["id"]) == 32
    assert set(payload["id"]) <= set("0123456789abcdef")
    assert f"location: /payloads/{payload['id']}\r\n" in head.decode().lower() + "\r\n"
    assert b'\n    "status": ' in body, "indented by four, for people"


async def test_the_keys_of_the_sources_are_taken_too(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, {"Cmd": "echo", "Params": ["hi"]})

    assert (payload["status"], payload["cmd"], payload["output"]) == ("finished", "echo", "hi\n")


async def test_all_payloads_are_listed_in_the_order_they_came(payloads: HttpDaemon) -> None:
    ids = [(await submit(payloads, {"cmd": "true", "params": []}))["id"] for _ in range(3)]

    curled = await curl(payloads, "{url}/payloads")

    assert [payload["id"] for payload in json.loads(curled.out)] == ids


async def test_an_unknown_payload_is_404(payloads: HttpDaemon) -> None:
    for path in ("/payloads/" + "0" * 32, "/payloads/x", "/payloads/", "/payloads/..%2fx"):
        assert (await payloads.client.get(path)).status_code == 404, path


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
    payloads: HttpDaemon, cmd: str, status: str
) -> None:
    assert (await finish(payloads, {"cmd": cmd, "params": []}))["status"] == status


async def test_whatever_is_written_to_stderr_makes_an_error(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, sh("echo a; echo warning >&2"))

    assert payload["status"] == "error:start (warning)"


async def test_the_exit_code_alone_makes_none(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, {"cmd": "false", "params": []})

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
async def test_bad_input_is_400_and_starts_nothing(payloads: HttpDaemon, body: str) -> None:
    answer = await payloads.client.post("/payloads", content=body)

    assert answer.status_code == 400
    assert (await payloads.client.get("/payloads")).json() == []


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
    payloads: HttpDaemon, method: str, path: str, allow: str
) -> None:
    answer = await payloads.client.request(method, path)

    assert (answer.status_code, answer.headers["allow"]) == (405, allow)


async def test_head_answers_as_get_without_a_body_and_takes_nothing_away(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, sh("echo hi"))
    path = f"/payloads/{payload['id']}"

    head, got = await payloads.client.head(path), await payloads.client.get(path)

    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"]
    assert got.json() == payload


async def test_without_its_setting_the_door_is_not_there(start_http: Start) -> None:
    daemon = await start_http()

    assert (await daemon.client.get("/payloads")).status_code == 404


async def test_below_a_base_path_locations_and_links_are_too(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(payloads_door=True, state_dir=str(tmp_path), base_path="/lab")

    answer = await daemon.client.post("/lab/payloads", json=sh("true"))
    page = await daemon.client.get("/lab/payloads?limit=1")

    assert (await daemon.client.get(answer.headers["location"])).json()["id"] == answer.json()["id"]
    assert (await daemon.client.get(page.links["next"]["url"])).json() == []
