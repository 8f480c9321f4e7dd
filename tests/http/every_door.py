"""A daemon whose HTTP doors are all open, and what its description says of them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from http_daemon import HttpDaemon, run_http_daemon

from ws_subprocess.doors.openapi.document import OpenDoors, build_document
from ws_subprocess.service.named_command import NamedCommand

COMMANDS = """
[[command]]
name = "echo"
command = "/bin/echo"

[[command]]
name = "fixed"
command = "/bin/echo"
args = ["always this"]
allow_args = false
allow_files = false
"""
# Of what may stand in the place of a parameter.
SAMPLES = {"id": "5e551047", "file": "rpc.js", "key": "5e551047"}


@dataclass(frozen=True)
class Operation:
    """One method of one path, as the description has it.

    Attributes:
        target: What a client asks for: the path below `base_path`, with all that is required.
        body: What it sends, None for nothing.
    """

    method: str
    path: str
    is_public: bool
    target: str
    body: Any = None

    def __str__(self) -> str:
        return f"{self.method} {self.path}"


@dataclass
class EveryDoor:
    """A running daemon and its description."""

    http: HttpDaemon
    document: dict[str, Any]

    async def ask(self, operation: Operation, **more: Any) -> httpx.Response:
        """Send what the description gives as an example; `more` for httpx."""
        return await self.http.client.request(operation.method, operation.target, json=operation.body, **more)


def list_operations(document: dict[str, Any]) -> list[Operation]:
    """Return all operations of a description, with its examples."""
    found = []
    for path, item in document["paths"].items():
        for method in item.keys() - {"parameters"}:
            told = item[method]
            query = {each["name"]: SAMPLES[each["name"]] for each in told.get("parameters", []) if each.get("required")}
            target = document["servers"][0]["url"].rstrip("/") + spell(path) + (f"?{urlencode(query)}" if query else "")
            content = told.get("requestBody", {}).get("content", {})
            body = content.get("application/json", {}).get("example")
            found.append(Operation(method.upper(), path, told.get("security") == [], target, body))
    return found


def spell(path: str) -> str:
    """Return a path as a client asks for it."""
    for name, sample in SAMPLES.items():
        path = path.replace(f"{{{name}}}", sample)
    return path


def describe_all_doors() -> dict[str, Any]:
    """Return the description of `settings_of_all_doors` without a daemon: for the parameters of tests."""
    commands = (
        NamedCommand("echo", "/bin/echo"),
        NamedCommand("fixed", "/bin/echo", allow_args=False, allow_files=False),
    )
    document = build_document(OpenDoors(True, True, True, commands, "/commands"))
    return {"servers": [{"url": "/"}], **document}


def settings_of_all_doors(folder: Path, commands_toml: str = COMMANDS) -> dict[str, Any]:
    """Return settings that open every door, with files below `folder`."""
    commands = folder / "commands.toml"
    commands.write_text(commands_toml)
    state_dir = folder / "state"
    state_dir.mkdir(mode=0o700, exist_ok=True)
    return {
        "process_door": True,
        "payloads_door": True,
        "rpc_door": True,
        "commands_file": str(commands),
        "state_dir": str(state_dir),
    }


@asynccontextmanager
async def run_every_door(folder: Path, kind: str = "ours", **settings: Any) -> AsyncIterator[EveryDoor]:
    """Run a daemon until the block ends."""
    async with run_http_daemon(kind, **settings_of_all_doors(folder) | settings) as http:
        answer = await http.client.get(f"{settings.get('base_path', '')}/openapi.json")
        assert answer.status_code == 200, answer.text
        yield EveryDoor(http, answer.json())
