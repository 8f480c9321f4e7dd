"""The doors that take commands over HTTP: all of them open, which requests they take, and what each is for."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Door = tuple[str, str]
# Of a route that leads to an application of its own, which decides about methods.
ANY_METHOD = "*"
KEY = "5e551047"
COMMANDS = """
[[command]]
name = "true"
command = "/bin/true"
"""


@dataclass(frozen=True, slots=True)
class Ask:
    """A good request of a door.

    Attributes:
        path: Its target; `body` None for a request without one.
        status: What it is answered when the token is good.
        tells_inside: A refusal by the gate is HTTP 200, and its code stands in the answer.
        hides: Whom the gate refuses is told what anybody is told of what is not there.
    """

    path: str
    status: int
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    tells_inside: bool = False
    hides: bool = False

    @property
    def content(self) -> bytes:
        return b"" if self.body is None else json.dumps(self.body).encode()


_START = {"command": "/bin/true", "args": [], "tty": False}
_JSON = {"Content-Type": "application/json"}
# Needs a token; starts a command.
HTTP_STARTS: dict[Door, Ask] = {
    ("POST", "/process"): Ask("/process", 200, {"alias": "a", "cmd": "/bin/true"}, _JSON),
    ("POST", "/commands/true"): Ask("/commands/true", 202, {"force_unique_key": True}, _JSON),
    ("POST", "/payloads"): Ask("/payloads", 201, {"cmd": "/bin/true", "params": []}),
    ("POST", "/rpc"): Ask("/rpc", 200, {"weerpc": 1.1, "function": "start", "data": _START}, _JSON, tells_inside=True),
    ("POST", "/rpc/1.0"): Ask(
        "/rpc/1.0", 200, {"wrpc": 1.0, "function": "start", "data": _START}, _JSON, tells_inside=True
    ),
}
# Needs a token; starts nothing. The jobs that are asked for are not there, so 404 is what a good token gets.
HTTP_LOOKS: dict[Door, Ask] = {
    ("GET", "/commands/true"): Ask(f"/commands/true?key={KEY}", 404),
    ("DELETE", "/commands/true"): Ask(f"/commands/true?key={KEY}", 404),
    ("GET", "/commands/true/output"): Ask(f"/commands/true/output?key={KEY}", 404),
    ("POST", "/commands/true/input"): Ask(f"/commands/true/input?key={KEY}", 404),
    ("GET", "/commands/true/jobs"): Ask("/commands/true/jobs", 200),
    ("GET", "/payloads"): Ask("/payloads", 200),
    ("GET", "/payloads/{id}"): Ask(f"/payloads/{KEY}", 404, hides=True),
    ("DELETE", "/payloads/{id}"): Ask(f"/payloads/{KEY}", 404, hides=True),
    ("GET", "/payloads/{id}/output"): Ask(f"/payloads/{KEY}/output", 404, hides=True),
}


def open_all_doors(folder: Path) -> dict[str, Any]:
    """Return settings that open every door, with their files in `folder`."""
    commands = folder / "commands.toml"
    commands.write_text(COMMANDS)
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    return {
        "process_door": True,
        "commands_file": str(commands),
        "payloads_door": True,
        "rpc_door": True,
        "state_dir": str(folder / "state"),
    }
