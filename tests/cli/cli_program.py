"""Runs the real program as a person would, with nothing of ours in its environment unless a test puts it there."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import httpx
from observing import until

DEADLINE_S = 20
PROGRAM = [sys.executable, "-m", "ws_subprocess"]


@dataclass(frozen=True)
class Result:
    """How the program ended and what it wrote."""

    status: int
    stdout: str
    stderr: str


def clean_environ(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WS_SUBPROCESS_")}
    return kept | variables


def run_program(*args: str, cwd: str | None = None, **variables: str) -> Result:
    """Run `ws-subprocess ARGS` to its end."""
    done = subprocess.run(
        [*PROGRAM, *args],
        env=clean_environ(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


class Daemon:
    """The program while it serves."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    def read_proc(self, name: str) -> str:
        """Return the text of `/proc/PID/NAME`."""
        return Path(f"/proc/{self.process.pid}/{name}").read_text()

    async def read_line(self) -> str:
        """Return the next line of stdout, empty when there is none any more."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), DEADLINE_S)).decode().rstrip("\n")

    async def end(self, *signals: int) -> Result:
        """Send `signals`, wait for the end, and return what was not read yet."""
        for number in signals:
            self.process.send_signal(number)
        stdout, stderr = await asyncio.wait_for(self.process.communicate(), DEADLINE_S)
        assert self.process.returncode is not None
        return Result(self.process.returncode, stdout.decode(), stderr.decode())


@contextlib.asynccontextmanager
async def start_program(*args: str, prefix: tuple[str, ...] = (), **variables: str) -> AsyncIterator[Daemon]:
    """Start `ws-subprocess ARGS`, behind `prefix` if given; it is gone at the end of the block."""
    threads = threading.active_count()
    process = await asyncio.create_subprocess_exec(
        *prefix,
        *PROGRAM,
        *args,
        env=clean_environ(**variables),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    try:
        yield Daemon(process)
    finally:
        if process.returncode is None:
            process.kill()
            await asyncio.wait_for(process.communicate(), DEADLINE_S)
        # On Python 3.11 asyncio waits for each process in a thread, which ends a little after the process.
        await until(lambda: threading.active_count() <= threads, "asyncio's thread")


async def get_status(url: str) -> int:
    """Return the status that a GET of `url` is answered with."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(url, timeout=DEADLINE_S)).status_code


async def get_unix_status(path: Path, route: str) -> int:
    """Return the status that a GET of `route` through the unix socket `path` is answered with, once it is there."""
    await until(lambda: _is_listened_to(path), f"the socket {path}", DEADLINE_S)
    async with httpx.AsyncClient(transport=httpx.AsyncHTTPTransport(uds=str(path))) as client:
        return (await client.get(f"http://localhost{route}", timeout=DEADLINE_S)).status_code


def _is_listened_to(path: Path) -> bool:
    """Tell whether somebody listens: the path is there a moment before."""
    with socket.socket(socket.AF_UNIX) as client:
        return client.connect_ex(str(path)) == 0
