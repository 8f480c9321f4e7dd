"""How commands of the process door end: by themselves, with their client, in time; and whose their names are then."""

import json
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from http_daemon import HttpDaemon
from observing import is_alive, until
from process_asking import HOLD, begin, in_header, post, run, sh, started

from ws_subprocess.sessions.attachment import SessionLimits

Start = Callable[..., Awaitable[HttpDaemon]]


# The client.


@pytest.mark.parametrize("script", ["exec sleep 1000", "while :; do echo x; sleep 0.01; done", "yes"])
async def test_a_client_that_leaves_kills_the_tree_at_once(start_http: Start, script: str) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        pid = await started(connection, sh(f"trap '' HUP TERM; sleep 1000 & echo $!; {script}"))
        assert is_alive(pid)
    begun = time.monotonic()
    await until(lambda: len(daemon.app.registry) == 0, "the session ends")

    assert not is_alive(pid)
    assert time.monotonic() - begun < SessionLimits().kill_after_s, "without steps that a trap could outlive"


async def test_a_client_that_closes_its_sending_half_has_left(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        pid = await started(connection, HOLD)
        connection.writer.write_eof()
        await until(lambda: not is_alive(pid))


async def test_a_client_that_leaves_a_command_which_never_reads_is_seen_to_leave(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True, input_bytes=64 * 1024)

    async with daemon.raw() as connection:
        types = {"content_type": "application/octet-stream", "content_length": "100000000"}
        connection.send("POST", "/process", **types, x_process=in_header(HOLD))
        await connection.read_head()
        connection.writer.write(b"x" * 400_000)
        await until(lambda: next(iter(daemon.app.registry)).input_bytes > 64 * 1024)
        (session,) = daemon.app.registry
        await until(lambda: any(a.is_input_full for a in session.attachments), "input is full")
        connection.writer.close()

        await until(lambda: len(daemon.app.registry) == 0, "the session ends")
    assert session.reason == "client_gone"


async def test_a_client_that_sends_another_request_and_leaves_is_seen_to_leave(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    async with daemon.raw() as connection:
        begin(connection, HOLD)
        begin(connection, sh("echo three", alias="b"))
        await connection.read_head()
        connection.writer.write(b"POST " + b"x" * 300_000)
        await connection.writer.drain()
        await until(lambda: len(daemon.app.registry) == 1)

    await until(lambda: len(daemon.app.registry) == 0, "the session ends")


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


# The alias.


async def test_a_running_alias_is_409_and_free_when_its_command_has_ended(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        await started(connection, HOLD)
        taken = await post(daemon, sh("echo hi"))
        other = await post(daemon, sh("echo hi", alias="b"))
    await until(lambda: len(daemon.app.registry) == 0)
    again = await post(daemon, sh("echo hi"))

    assert (taken.status_code, taken.text) == (409, '[Rexec] AlreadyRunning : ""')
    assert (other.text, again.text) == ("hi\n", "hi\n")


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
        await started(connection, HOLD)
        taken = await post(daemon, sh("echo hi"), Authorization="Bearer other")
    await until(lambda: len(daemon.app.registry) == 0)
    again = await post(daemon, sh("echo hi"), Authorization="Bearer other")
    used = await post(daemon, sh("echo hi"), Authorization="Bearer other")

    assert (taken.status_code, again.text, used.status_code) == (409, "hi\n", 403)


# What the client is told.


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
