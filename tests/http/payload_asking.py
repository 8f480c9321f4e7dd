"""What tests of the payload door ask: payloads are posted, looked at, waited for."""

import json
from collections.abc import Callable
from typing import Any

import httpx
from http_daemon import Curled, HttpDaemon
from observing import becomes_true


async def submit(daemon: HttpDaemon, body: object, **headers: str) -> dict[str, Any]:
    """Post a payload and return what the daemon says of it."""
    answer = await daemon.client.post("/payloads", content=json.dumps(body), headers=headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


def sh(script: str, **more: Any) -> dict[str, Any]:
    """Return a request that runs a shell script."""
    return {"cmd": "/bin/sh", "params": ["-c", script], **more}


async def get(daemon: HttpDaemon, job_id: str, **headers: str) -> httpx.Response:
    return await daemon.client.get(f"/payloads/{job_id}", headers=headers)


async def finish(daemon: HttpDaemon, body: object) -> dict[str, Any]:
    """Post a payload and return it when it has ended."""
    job_id = (await submit(daemon, body))["id"]
    return await wait_until(daemon, job_id, lambda status: status not in ("pending", "working"))


async def wait_until(daemon: HttpDaemon, job_id: str, is_it: Callable[[str], bool]) -> dict[str, Any]:
    """Ask for a payload until its status is what is waited for, and return it."""
    found: dict[str, Any] = {}

    async def is_so() -> bool:
        found.update((await get(daemon, job_id)).json())
        return is_it(found["status"])

    await becomes_true(is_so, "the payload's status")
    return found


async def curl(daemon: HttpDaemon, *args: str) -> Curled:
    curled = await daemon.curl(*args)
    assert curled.exit_code == 0, curled.err
    return curled
