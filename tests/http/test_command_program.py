"""The command door of the real program, with static tokens, asked by curl, and killed in the middle."""

import asyncio
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from command_daemon import becomes_true
from observing import is_alive, until

REPOSITORY = Path(__file__).resolve().parents[2]
TOKEN = "a-token-that-nobody-can-guess-0123456789"
COMMANDS = """
[[command]]
name = "sh"
command = "/bin/sh"
args = ["-c"]
retention = "keep"
"""
TOKENS = f"""
[[token]]
name = "tests"
hash = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
doors = ["commands"]
allow = [{{ door = "commands", command = "/bin/sh" }}]
"""


@dataclass
class Program:
    """A daemon that was started as a person would."""

    process: subprocess.Popen[bytes]
    url: str

    async def curl(self, *args: str) -> Any:
        """Return what the daemon answers to curl: JSON."""
        process = await asyncio.create_subprocess_exec(
            *("curl", "--silent", "--show-error", "--noproxy", "*", "-H", f"Authorization: Bearer {TOKEN}", *args),
            stdout=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(20):
            out, _ = await process.communicate()
        return json.loads(out)

    async def start(self, script: str) -> str:
        """Start a job; return its key."""
        body = json.dumps({"args": [script]})
        answer = await self.curl("--json", body, f"{self.url}/commands/sh")
        assert answer["status"] == "running", answer
        key: str = answer["key"]
        return key

    async def report(self, key: str) -> Any:
        return await self.curl(f"{self.url}/commands/sh?key={key}&wait=true")


@contextmanager
def running(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run the daemon until the block ends."""
    (folder / "commands.toml").write_text(COMMANDS)
    (folder / "tokens.toml").write_text(TOKENS)
    argv = [sys.executable, "-m", "ws_subprocess", "serve", "--listen", "127.0.0.1:0"]
    argv += ["--commands-file", str(folder / "commands.toml"), "--tokens-file", str(folder / "tokens.toml")]
    argv += ["--state-dir", str(folder / "state")]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(REPOSITORY), "HOME": str(folder)}
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environ)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(30)


async def find_url(folder: Path, process: subprocess.Popen[bytes]) -> str:
    """Return where the daemon listens, once it says so."""

    def find() -> list[str]:
        assert process.poll() is None, (folder / "stderr").read_text()
        return re.findall(r"http://127\.0\.0\.1:\d+", (folder / "stdout").read_text())

    await until(find, "the daemon's address", 30)
    return find()[0]


async def test_curl_runs_a_command(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        program = Program(process, await find_url(tmp_path, process))

        report = await program.report(await program.start("echo out; echo err >&2; exit 3"))

    assert (report["report"], report["error"], report["returncode"]) == ("out\n", "err\n", 3)


async def test_a_daemon_that_was_killed_knows_its_jobs_again(tmp_path: Path) -> None:
    with running(tmp_path) as process:
        first = Program(process, await find_url(tmp_path, process))
        done = await first.start("echo done")
        report = await first.report(done)
        lost = await first.start("echo so far; echo $$; exec sleep 1000")
        path = f"{first.url}/commands/sh/output?key={lost}"

        async def has_spoken() -> bool:
            events = await asyncio.to_thread(_read_output, path)
            return events.count(b"\n") == 2

        await becomes_true(has_spoken, "the command's output")
        pid = int((await asyncio.to_thread(_read_output, path)).split()[-1])
        process.send_signal(signal.SIGKILL)
        process.wait(10)

    with running(tmp_path) as process:
        second = Program(process, await find_url(tmp_path, process))

        assert await second.report(done) == report
        found = await second.report(lost)

        assert found["status"] == "lost"
        assert found["report"] == f"so far\n{pid}\n"
        assert not is_alive(pid)


def _read_output(url: str) -> bytes:
    argv = ["curl", "--silent", "--noproxy", "*", "-H", f"Authorization: Bearer {TOKEN}", url]
    return subprocess.run(argv, capture_output=True, timeout=20, check=True).stdout
