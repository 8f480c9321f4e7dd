"""What tests of the rpc door ask: the daemon's own functions, in weeRPC."""

import base64
import json
from typing import Any

from http_daemon import HttpDaemon


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def ask(daemon: HttpDaemon, function: str, data: Any = None, token: str = "t0ken") -> dict[str, Any]:
    """Call in weeRPC; return the whole answer."""
    body = {"weerpc": 1.1, "function": function, "data": data}
    headers = bearer(token) | {"Content-Type": "application/json"}
    response = await daemon.client.post("/rpc", content=json.dumps(body), headers=headers)
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


async def call(daemon: HttpDaemon, function: str, data: Any = None, token: str = "t0ken") -> Any:
    """Call a function that must succeed; return its data."""
    answer = await ask(daemon, function, data, token)
    assert answer["ok"], answer
    return answer["data"]


async def fail(daemon: HttpDaemon, function: str, data: Any = None, token: str = "t0ken") -> str:
    """Call a function that must fail; return its code."""
    answer = await ask(daemon, function, data, token)
    assert not answer["ok"], answer
    code: str = answer["data"]["code"]
    return code


async def run(daemon: HttpDaemon, script: str, **data: Any) -> str:
    """Start a shell script on pipes; return its session."""
    started = await call(daemon, "start", {"command": "/bin/sh", "args": ["-c", script], "tty": False, **data})
    session: str = started["session"]
    return session


def read(output: dict[str, Any], stream: int = 1) -> bytes:
    return b"".join(base64.b64decode(c["base64"]) for c in output["chunks"] if c["stream"] == stream)
