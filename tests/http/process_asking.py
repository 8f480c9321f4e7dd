"""What tests of the process door ask: rexec's requests, sent with httpx, with curl, and over bare sockets."""

import base64
import json
from typing import Any

import httpx
from http_daemon import Curled, HttpDaemon, RawConnection

NDJSON = {"Accept": "application/x-ndjson"}
PROBLEM = {"Accept": "application/problem+json"}


def sh(script: str, **more: Any) -> dict[str, Any]:
    """Return a request that runs a shell script."""
    return {"alias": "a", "cmd": "/bin/sh", "args": ["-c", script], **more}


# Says its pid and goes on until it is killed; see `started`.
HOLD = sh("echo $$; exec sleep 1000")


async def post(daemon: HttpDaemon, body: object, **headers: str) -> httpx.Response:
    """Post a request and read the whole answer."""
    headers["Content-Type"] = "application/json"
    return await daemon.client.post("/process", content=json.dumps(body), headers=headers)


async def run(daemon: HttpDaemon, body: object, *args: str) -> Curled:
    """Post with curl, as rexec's users do."""
    return await daemon.curl("-H", "Content-Type: application/json", "-d", json.dumps(body), *args, "{url}/process")


def lines_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """Return the objects of an answer in NDJSON."""
    return [json.loads(line) for line in answer.text.splitlines()]


def begin(to: RawConnection, body: object, **headers: str) -> None:
    """Send a request and read nothing yet."""
    to.send("POST", "/process", json.dumps(body).encode(), content_type="application/json", **headers)


async def started(connection: RawConnection, body: object) -> int:
    """Begin a request whose script first says its pid; return that, with the rest of the answer to be read."""
    begin(connection, body)
    assert await connection.read_status() == 200
    await connection.reader.readline()
    return int(await connection.reader.readline())


def in_header(body: object) -> str:
    """Return what `X-Process` says of a request whose body is the command's input."""
    return base64.urlsafe_b64encode(json.dumps(body).encode()).decode().rstrip("=")
