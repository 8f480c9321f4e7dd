"""What the controller says, or fails to say, becomes a status before the upgrade; nothing is started."""

import asyncio
import contextlib
import logging
from pathlib import Path
from typing import Any

import pytest
from daemon import KEY, Daemon
from knocking import Start, expect, held_controller
from observing import list_children, until
from scripted_server import respond

ANSWERS: list[tuple[str, Any]] = [
    ("denied", None),
    ("denied", respond('{"command": "/bin/true"}', "201 Created")),
    ("denied", respond("", "302 Found", "Location: /")),
    ("controller_error", respond("", "500 Oops")),
    ("controller_error", respond("", "503 Busy")),
    ("controller_bad_answer", b"garbage\r\n\r\n"),
    ("controller_too_big", respond(" " * 70_000)),
    ("controller_bad_encoding", respond("{}", "200 OK", "Content-Encoding: gzip")),
    ("controller_bad_json", respond("<html>")),
    ("controller_bad_schema", respond("[]")),
    ("controller_bad_schema", {}),
    ("controller_bad_command", {"command": "true"}),
    ("controller_bad_env", {"command": "/bin/true", "env": {"LD_PRELOAD": "/x"}}),
    ("spawn_cwd", {"command": "/bin/true", "cwd": "relative"}),
    ("spawn_cwd", {"command": "/bin/true", "cwd": "/no/such/directory"}),
    ("spawn_failed", {"command": "/no/such/command"}),
    ("spawn_failed", {"command": "/etc/passwd"}),
]


@pytest.mark.parametrize("server", ["ours"], indirect=True)
@pytest.mark.parametrize(("code", "answer"), ANSWERS, ids=lambda value: ascii(value)[:50])
async def test_what_the_controller_says_becomes_a_status_and_the_client_learns_no_more(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, code: str, answer: Any
) -> None:
    if answer is not None:
        daemon.grants["t0ken"] = answer

    with caplog.at_level(logging.INFO):
        reply = await expect(daemon, code, "/ws?token=t0ken")

    assert "detail" not in reply.json()
    assert daemon.list_asked() == ["t0ken", "t0ken"], "once for each knock"
    lines = [record for record in caplog.records if record.getMessage() == "refused"]
    assert [record.__dict__["code"] for record in lines] == [code] * 2
    assert [record.__dict__["reason"] for record in lines] == [code] * 2
    assert all(record.__dict__["detail"] for record in lines)
    assert {record.levelno for record in lines} == {logging.INFO if code == "denied" else logging.WARNING}


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_on_any_other_server_its_answers_become_the_same_statuses(daemon: Daemon) -> None:
    for code, answer in ANSWERS:
        daemon.grants.clear()
        if answer is not None:
            daemon.grants["t0ken"] = answer
        await expect(daemon, code, "/ws?token=t0ken")


async def test_a_controller_that_nobody_reaches_is_503_with_a_time_to_come_back(start: Start) -> None:
    daemon = await start(controller_url="http://127.0.0.1:1/")

    reply = await expect(daemon, "controller_unreachable", "/ws?token=t0ken")

    assert reply.get("retry-after") == "5"


async def test_a_controller_that_is_late_is_504(start: Start) -> None:
    daemon = await start(controller_timeout_s=0.1)
    with held_controller(daemon):
        await expect(daemon, "controller_timeout", "/ws?token=t0ken")


async def test_a_client_that_leaves_while_the_controller_is_asked_starts_nothing(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    with held_controller(daemon), caplog.at_level(logging.INFO):
        knocking = asyncio.ensure_future(daemon.knock(daemon.grant("true")))
        await until(daemon.list_asked, "the question")
        knocking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await knocking

        await until(lambda: daemon.controller.closed, "the end of the question")
        await until(lambda: "client left during handshake" in caplog.messages, "the log line")

    assert len(daemon.app.registry) == 0
    assert not list_children()


async def test_a_refused_client_that_is_gone_already_hurts_nobody(daemon: Daemon) -> None:
    with held_controller(daemon) as release:
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(
            f"GET /ws?token=x HTTP/1.1\r\nHost: {daemon.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        await until(daemon.list_asked, "the question")
        release()
        writer.transport.abort()

    assert (await daemon.get("/healthz")).status == 200


async def test_a_command_that_was_refused_for_its_directory_can_be_mended(daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    await expect(daemon, "spawn_cwd", daemon.grant("pwd", cwd=str(folder)))

    folder.mkdir()
    async with daemon.open("/ws?token=t0ken") as client:
        await client.ends()

    assert client.output.decode().strip() == str(folder)
