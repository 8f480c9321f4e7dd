"""A daemon with a file of commands, and what tests of the command door ask of it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from http_daemon import HttpDaemon, run_http_daemon
from observing import becomes_true

COMMANDS = """
[[command]]
name = "echo"
command = "/bin/echo"

[[command]]
name = "sh"
command = "/bin/sh"
args = ["-c"]

[[command]]
name = "cat"
command = "/bin/cat"

[[command]]
name = "keep"
command = "/bin/echo"
retention = "keep"
ttl_s = 60

[[command]]
name = "one"
command = "/bin/sh"
args = ["-c"]
max_running = 1

[[command]]
name = "brief"
command = "/bin/sleep"
timeout_s = 1

[[command]]
name = "fixed"
command = "/bin/echo"
args = ["always this"]
allow_args = false
allow_files = false

[[command]]
name = "missing"
command = "/nowhere/missing"
"""


@dataclass
class CommandDaemon:
    """A daemon, and the client that its users know."""

    http: HttpDaemon
    state_dir: Path

    @property
    def client(self) -> httpx.AsyncClient:
        return self.http.client

    async def post(self, name: str, **fields: Any) -> httpx.Response:
        return await self.client.post(f"/commands/{name}", json=fields)

    async def start(self, name: str, **fields: Any) -> str:
        """Start a job; return its key."""
        response = await self.post(name, **fields)
        assert response.status_code == 202, response.text
        key: str = response.json()["key"]
        return key

    async def get(self, name: str, key: str, **query: str) -> httpx.Response:
        return await self.client.get(f"/commands/{name}", params={"key": key, **query})

    async def report(self, name: str, key: str) -> dict[str, Any]:
        """Return the report of a job, once it has ended."""
        response = await self.get(name, key, wait="true")
        assert response.status_code == 200, response.text
        found: dict[str, Any] = response.json()
        return found

    async def run(self, name: str, **fields: Any) -> dict[str, Any]:
        return await self.report(name, await self.start(name, **fields))

    async def ends(self, name: str) -> None:
        """Wait until the first job of a list has ended, without reading its result."""
        await becomes_true(lambda: self._has_ended(name), "the job's end")

    async def _has_ended(self, name: str) -> bool:
        jobs = (await self.client.get(f"/commands/{name}/jobs")).json()["jobs"]
        return jobs[0]["end_time"] is not None

    async def list_uploads(self) -> list[Path]:
        """Return what is left of uploads."""
        folder = self.state_dir / "spool" / "uploads"
        return await asyncio.to_thread(lambda: list(folder.iterdir()) if folder.exists() else [])


StartCommands = Callable[..., Awaitable[CommandDaemon]]


@asynccontextmanager
async def run_command_daemon(
    folder: Path, kind: str = "ours", commands: str = COMMANDS, **settings: Any
) -> AsyncIterator[CommandDaemon]:
    """Run a daemon with these commands until the block ends."""
    path = folder / "commands.toml"
    path.write_text(commands)
    state_dir = folder / "state"
    state_dir.mkdir(mode=0o700, exist_ok=True)
    async with run_http_daemon(kind, commands_file=str(path), state_dir=str(state_dir), **settings) as daemon:
        yield CommandDaemon(daemon, state_dir)
