"""Limits of the HTTP doors, from the setting to what a client meets."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from command_daemon import StartCommands
from http_daemon import HttpDaemon
from observing import becomes_true, until

Start = Callable[..., Awaitable[HttpDaemon]]
KIB, MIB = 1024, 1024 * 1024
PROBLEM = {"Accept": "application/problem+json"}


async def submit(daemon: HttpDaemon, script: str) -> str:
    """Post a payload that runs a shell script; return its id."""
    answer = await daemon.client.post("/payloads", json={"cmd": "/bin/sh", "params": ["-c", script]})
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["id"]
    return job_id


async def read(daemon: HttpDaemon, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = (await daemon.client.get(f"/payloads/{job_id}")).json()
    return found


async def finish(daemon: HttpDaemon, script: str) -> str:
    """Run a payload to its end; return its id."""
    job_id = await submit(daemon, script)

    async def has_ended() -> bool:
        return (await read(daemon, job_id))["ended_at"] is not None

    await becomes_true(has_ended, "the payload's end")
    return job_id


# Each door's body of a request, a byte too long.
BODIES = {
    "/process": {"alias": "a", "cmd": "/bin/true"},
    "/payloads": {"cmd": "/bin/true", "params": []},
    "/rpc": {"weerpc": 1.1, "function": "list", "data": None},
    "/rpc/1.0": {"wrpc": 1.0, "function": "list", "data": None},
    "/commands/echo": {"args": ["x"]},
}


@pytest.mark.parametrize("path", BODIES)
async def test_max_body_bytes_is_the_largest_body_at_each_door(start_commands: StartCommands, path: str) -> None:
    commands = await start_commands(process_door=True, payloads_door=True, rpc_door=True, max_body_bytes=KIB)
    body, headers = json.dumps(BODIES[path]).encode(), {"Content-Type": "application/json", **PROBLEM}

    async def in_pieces() -> Any:
        for start in range(0, KIB + 1, 100):
            yield body.ljust(KIB + 1)[start : start + 100]

    largest = await commands.client.post(path, content=body.ljust(KIB), headers=headers)
    declared = await commands.client.post(path, content=body.ljust(KIB + 1), headers=headers)
    chunked = await commands.client.post(path, content=in_pieces(), headers=headers)

    assert largest.status_code < 300
    for refused in (declared, chunked):
        assert (refused.status_code, refused.json()["code"]) == (413, "too_big")
        assert refused.headers["connection"] == "close"
    assert len(commands.http.questions) == (0 if path.startswith("/rpc") else 1)


@pytest.mark.parametrize("path", BODIES)
async def test_body_timeout_s_is_how_long_a_body_may_take_at_each_door(
    start_commands: StartCommands, path: str
) -> None:
    commands = await start_commands(process_door=True, payloads_door=True, rpc_door=True, body_timeout_s=0.2)

    async with commands.http.raw() as connection:
        connection.send("POST", path, content_type="application/json", content_length="100", connection="keep-alive")
        connection.writer.write(b"{")
        head = await connection.read_head()

    assert head.split()[1] == "408"
    assert "\r\nconnection: close\r\n" in head.lower()
    assert not commands.http.questions


async def test_max_jobs_running_lets_the_others_wait(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), max_jobs_running=2)
    ids = [await submit(daemon, "sleep 1000") for _ in range(3)]
    await until(lambda: len(daemon.app.registry) == 2, "two run")

    assert [(await read(daemon, job_id))["status"] for job_id in ids] == ["working", "working", "pending"]
    await daemon.client.delete(f"/payloads/{ids[0]}")

    async def is_working() -> bool:
        return (await read(daemon, ids[2]))["status"] == "working"

    await becomes_true(is_working, "the third one's turn")
    assert len(daemon.app.registry) == 2


async def test_max_jobs_waiting_is_how_many_may_wait(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), max_jobs_running=1, max_jobs_waiting=1)
    running, _ = await submit(daemon, "sleep 1000"), await submit(daemon, "true")

    body = {"cmd": "/bin/true", "params": []}
    refused = await daemon.client.post("/payloads", json=body, headers=PROBLEM)
    await daemon.client.delete(f"/payloads/{running}")
    accepted = await daemon.client.post("/payloads", json=body, headers=PROBLEM)

    assert (refused.status_code, refused.json()["code"]) == (503, "queue_full")
    assert int(refused.headers["retry-after"]) > 0
    assert accepted.status_code == 201


async def test_max_jobs_kept_is_how_many_results_are_kept(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), max_jobs_kept=2)
    working = await submit(daemon, "sleep 1000")
    ids = [await finish(daemon, "true") for _ in range(4)]

    await daemon.app.jobs._retainer.forget_surplus(0.0)

    answer = await daemon.client.get("/payloads")
    assert [payload["id"] for payload in answer.json()] == [working, *ids[2:]]


async def test_job_ttl_s_is_how_long_a_result_is_kept(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), job_ttl_s=60.0)
    ended = await read(daemon, await finish(daemon, "echo hi"))
    working = await submit(daemon, "sleep 1000")
    seen = []

    for late_s in (59, 61):
        await daemon.app.jobs._retainer.forget_surplus(ended["ended_at"] + late_s)
        seen.append((await daemon.client.get(f"/payloads/{ended['id']}")).status_code)

    assert seen == [200, 404]
    assert (await read(daemon, working))["status"] == "working"


async def test_max_job_output_bytes_is_how_much_of_a_jobs_output_is_kept(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), max_job_output_bytes=4 * KIB)

    payload = await read(daemon, await finish(daemon, "head -c 10000 /dev/zero | tr '\\0' x; echo e >&2; exit 3"))

    assert (payload["output"], payload["is_truncated"]) == ("x" * 4 * KIB, True)
    assert payload["exit_code"] == 3, "the command went on to its end"


async def test_spool_bytes_is_how_much_of_all_output_is_kept(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), spool_bytes=MIB)
    spool, body = daemon.app.jobs._spool, {"cmd": "/bin/true", "params": []}
    # One that runs is never forgotten, so its output stays in the way.
    running = await submit(daemon, "head -c 3000000 /dev/zero; sleep 1000")
    await until(lambda: not spool.has_room(), "a full spool")

    refused = await daemon.client.post("/payloads", json=body, headers=PROBLEM)
    kept = await asyncio.to_thread(_count_bytes, tmp_path / "spool")
    await daemon.client.delete(f"/payloads/{running}")
    await until(spool.has_room, "room")

    assert (refused.status_code, refused.json()["code"]) == (507, "no_space")
    assert kept <= MIB
    assert (await read(daemon, await finish(daemon, "echo again")))["output"] == "again\n"


def _count_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
