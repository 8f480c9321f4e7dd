"""The command door of the real program, with static tokens, asked by curl, and killed in the middle."""

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from commands_program import TOKEN, launch_commands
from daemon_process import WAIT_S, DaemonProcess
from observing import becomes_true, is_alive


@dataclass
class Program:
    """A daemon that was started as a person would."""

    process: DaemonProcess

    async def curl(self, *args: str) -> bytes:
        """Return what the daemon answers to curl."""
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--noproxy", "*", "-H", f"Authorization: Bearer {TOKEN}", *args),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(WAIT_S):
            out, _ = await process.communicate()
        return out

    async def start(self, script: str) -> str:
        """Start a job; return its key."""
        answer = json.loads(await self.curl("--json", json.dumps({"args": [script]}), self.locate()))
        assert answer["status"] == "running", answer
        key: str = answer["key"]
        return key

    async def report(self, key: str) -> Any:
        return json.loads(await self.curl(self.locate() + f"?key={key}&wait=true"))

    async def read_output(self, key: str) -> bytes:
        return await self.curl(self.locate("/output") + f"?key={key}")

    def locate(self, what: str = "") -> str:
        return f"{self.process.url}/commands/sh{what}"


@asynccontextmanager
async def running(folder: Path, state_dir: Path) -> AsyncIterator[Program]:
    """Run the daemon until the block ends, in which it may have been killed."""
    process = launch_commands(folder, state_dir)
    try:
        await process.ready()
        yield Program(process)
    finally:
        await process.end()


async def test_curl_runs_a_command(tmp_path: Path) -> None:
    async with running(tmp_path / "daemon", tmp_path / "state") as program:
        report = await program.report(await program.start("echo out; echo err >&2; exit 3"))

    assert (report["report"], report["error"], report["returncode"]) == ("out\n", "err\n", 3)


async def test_a_daemon_that_was_killed_knows_its_jobs_again(tmp_path: Path) -> None:
    async with running(tmp_path / "first", tmp_path / "state") as first:
        done = await first.start("echo done")
        report = await first.report(done)
        lost = await first.start("echo so far; echo $$; exec sleep 1000")

        async def has_spoken() -> bool:
            return (await first.read_output(lost)).count(b"\n") == 2

        await becomes_true(has_spoken, "the command's output")
        pid = int((await first.read_output(lost)).split()[-1])
        first.process.send(signal.SIGKILL)
        await first.process.ended()

    async with running(tmp_path / "second", tmp_path / "state") as second:
        assert await second.report(done) == report
        found = await second.report(lost)

        assert found["status"] == "lost"
        assert found["report"] == f"so far\n{pid}\n"
        assert not is_alive(pid)
