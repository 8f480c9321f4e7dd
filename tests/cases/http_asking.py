"""A daemon whose HTTP doors are all open: good requests for each of them, and what its answers are held against."""

import json
import secrets
from pathlib import Path
from typing import Any

import httpx
from catalogue import Entry
from command_daemon import COMMANDS
from daemon import Reply
from every_door import settings_of_all_doors
from expecting import Audit, expect_http
from http_daemon import BEARER, HttpDaemon, RawConnection

JSON = {"Content-Type": "application/json"}
PROBLEM = {"Accept": "application/problem+json"}
# A good request that starts something, for each door.
STARTS: dict[str, Any] = {
    "/process": {"alias": "a", "cmd": "/bin/true"},
    "/commands/echo": {"args": ["x"]},
    "/payloads": {"cmd": "/bin/true", "params": []},
    "/rpc": {"weerpc": 1.1, "function": "start", "data": {"tty": False}},
    "/rpc/1.0": {"wrpc": 1.0, "function": "start", "data": {"tty": False}},
}
RPC = ("/rpc", "/rpc/1.0")


def settings_with_callbacks(folder: Path) -> dict[str, Any]:
    """Return settings that open every HTTP door, with their files in `folder`; clients may be called back."""
    key = folder / "callbacks.key"
    key.write_text(secrets.token_hex(32))
    key.chmod(0o600)
    return settings_of_all_doors(folder, f'{COMMANDS}\n[callbacks]\nhmac_key = "file:{key}"\n')


async def post(daemon: HttpDaemon, path: str, content: bytes | Any = None, **headers: str) -> httpx.Response:
    """Post JSON, or bytes as they are, as a client that understands problems; a header "" is left out."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    given = {**BEARER, **JSON, **PROBLEM, **{name.replace("_", "-"): value for name, value in headers.items()}}
    # Without its own headers, of which some are to be missing.
    request = httpx.Request("POST", f"{daemon.url}{path}", content=body, headers={k: v for k, v in given.items() if v})
    return await daemon.client.send(request)


def begin(to: RawConnection, path: str, body: bytes = b"", **headers: str) -> None:
    """Send a request's head, and of its body only this."""
    to.send("POST", path, body, **{"content_type": "application/json", "accept": PROBLEM["Accept"], **headers})


async def read_answer(connection: RawConnection) -> Reply:
    """Read an answer whose length is told."""
    status, *lines = (await connection.read_head()).rstrip().split("\r\n")
    headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
    reply = Reply(int(status.split()[1]), headers, b"")
    reply.body = await connection.reader.readexactly(int(reply.get("content-length") or 0))
    return reply


def expect_answer(
    entry: Entry, response: httpx.Response | Reply, variant: str = "", audit: Audit | None = None
) -> None:
    """Fail unless an answer has the entry's status and code."""
    if isinstance(response, httpx.Response):
        response = Reply(response.status_code, list(response.headers.items()), response.content)
    expect_http(entry, response, audit, variant)
