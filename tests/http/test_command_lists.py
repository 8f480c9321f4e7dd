"""Lists of jobs, page by page; and what becomes of who waits when the daemon ends."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path

from command_daemon import CommandDaemon, run_command_daemon
from http_daemon import TOKEN, RawConnection


async def test_a_token_that_is_used_up_lists_its_jobs_to_the_end(commands: CommandDaemon) -> None:
    keys = [await commands.start("echo", args=[word]) for word in ("one", "two")]
    del commands.http.grants[TOKEN]

    first = (await commands.client.get("/commands/echo/jobs?limit=2")).json()
    last = await commands.client.get(f"/commands/echo/jobs?limit=2&after={first['after']}")

    assert [job["key"] for job in first["jobs"]] == keys
    assert (last.status_code, last.json()) == (200, {"jobs": [], "after": None})


async def test_a_token_that_started_nothing_and_may_nothing_is_refused(commands: CommandDaemon) -> None:
    del commands.http.grants[TOKEN]

    assert (await commands.client.get("/commands/echo/jobs")).status_code == 403


async def test_who_waits_for_a_job_that_will_not_begin_any_more_is_told_why(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        commands = await stack.enter_async_context(run_command_daemon(tmp_path, max_jobs_running=1))
        await commands.start("sh", args=["sleep 1000"])
        key = await commands.start("echo", args=["later"])
        reader, writer = await asyncio.open_connection("127.0.0.1", commands.http.port)
        waiting = RawConnection(reader, writer)
        waiting.send("GET", f"/commands/echo?key={key}&wait=true")
        # What was sent later has been answered.
        await commands.get("echo", key)
        await commands.get("echo", key)

        _, answer = await asyncio.gather(stack.aclose(), reader.read())
        writer.close()

    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"draining"' in answer
