"""What the PERICLES payload handlers do wrong, one test each; for answers mixed up see test_concurrent_reads.py."""

from pathlib import Path
from typing import Any

import pytest
from http_daemon import HttpDaemon, run_http_daemon
from observing import is_alive, until
from payload_asking import curl, finish, get, sh, submit


async def test_output_was_thrown_away(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, sh("echo out; printf '\\377' >&2; exit 3"))

    assert (payload["output"], payload["exit_code"], payload["signal"]) == ("out\n", 3, None)
    assert (payload["error_output"], payload["error_output_base64"]) == ("\ufffd", "/w==")
    assert payload["created_at"] <= payload["started_at"] <= payload["ended_at"]


async def test_large_output_can_be_read_in_pieces(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, sh("head -c 3000000 /dev/zero | tr '\\0' x"))

    piece = await payloads.client.get(f"/payloads/{payload['id']}/output?offset=2999990")

    assert (len(payload["output"]), payload["is_truncated"], payload["output_bytes"]) == (2**20, True, 3_000_000)
    assert piece.text == "x" * 10


async def test_nothing_could_be_stopped(payloads: HttpDaemon, tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    payload = await submit(payloads, sh(f"sleep 1000 & echo $! > {pid}; wait"))
    await until(lambda: pid.exists() and pid.read_text().strip())
    child = int(pid.read_text())

    curled = await curl(payloads, "-X", "DELETE", "-w", "%{http_code}", "{url}/payloads/" + payload["id"])

    assert curled.out == b"204"
    await until(lambda: not is_alive(child), timeout_s=1.0)
    assert (await get(payloads, payload["id"])).status_code == 404


async def test_nothing_ended_in_time(payloads: HttpDaemon) -> None:
    payload = await finish(payloads, sh("echo hi; sleep 1000", timeout=0.2))

    assert (payload["status"], payload["state"]) == ("error:timed out after 0.2 seconds", "timed_out")
    assert payload["output"] == "hi\n"


async def test_parameters_of_the_wrong_type_left_a_payload_pending_for_ever(payloads: HttpDaemon) -> None:
    answer = await payloads.client.post("/payloads", json={"cmd": "true", "params": {"a": 1}})

    assert answer.status_code == 400


async def test_payloads_were_in_memory_only(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"payloads_door": True, "state_dir": str(tmp_path)}
    async with run_http_daemon(**settings) as daemon:
        payload = await finish(daemon, {"cmd": "echo", "params": ["hi"]})

    async with run_http_daemon(**settings) as daemon:
        assert (await get(daemon, payload["id"])).json() == payload


async def test_everybody_could_do_everything(payloads: HttpDaemon) -> None:
    payload = await submit(payloads, sh("sleep 1000"))
    path = f"/payloads/{payload['id']}"
    payloads.allow("stranger")
    payloads.allow("named", principal="somebody")

    for token in ("stranger", "named", "nobody-knows"):
        bearer = {"Authorization": f"Bearer {token}"}
        for method in ("GET", "DELETE"):
            answer = await payloads.client.request(method, path, headers=bearer)
            assert answer.status_code == 404, (token, method)
    assert (await payloads.client.get("/payloads", headers={"Authorization": "Bearer stranger"})).json() == []
    assert (await payloads.client.get(path, headers={"Authorization": ""})).status_code == 401
    assert (await get(payloads, payload["id"])).status_code == 200


@pytest.mark.parametrize("answer", [b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", None])
async def test_whether_a_payload_is_there_is_told_by_nothing(payloads: HttpDaemon, answer: bytes | None) -> None:
    payload = await submit(payloads, sh("true"))
    if answer is not None:
        payloads.grants["stranger"] = answer
    seen = []

    for payload_id in (payload["id"], "0" * 32):
        asked = len(payloads.questions)
        found = await get(payloads, payload_id, Authorization="Bearer stranger")
        seen.append((found.status_code, found.content, len(payloads.questions) - asked))

    assert seen[0] == seen[1]
