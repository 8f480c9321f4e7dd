"""The scripts in `examples/curl` do what they say."""

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from http_daemon import TOKEN, WAIT_S, HttpDaemon

EXAMPLES = Path(__file__).parents[2] / "examples" / "curl"
Start = Callable[..., Awaitable[HttpDaemon]]


async def run(daemon: HttpDaemon, script: str, body: object) -> tuple[int | None, bytes]:
    """Run an example; return its exit status and what it wrote."""
    process = await asyncio.create_subprocess_exec(
        "sh",
        str(EXAMPLES / script),
        json.dumps(body),
        env={**os.environ, "URL": daemon.url, "TOKEN": TOKEN, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(WAIT_S):
        out, _ = await process.communicate()
    return process.returncode, out


async def test_a_process_writes_its_output(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    assert await run(daemon, "process.sh", {"alias": "a", "cmd": "printf", "args": ["a\\377"]}) == (0, b"a\xff")


async def test_a_process_that_is_refused_or_cut_ends_with_its_status(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    cut = await run(daemon, "process.sh", {"alias": "a", "cmd": "yes", "timeout": 0.1})
    daemon.grants.clear()
    refused = await run(daemon, "process.sh", {"alias": "a", "cmd": "yes"})

    assert (cut[0], refused) == (18, (22, b"Invalid token"))


async def test_a_payload_is_waited_for(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path))

    exit_code, out = await run(daemon, "payload.sh", {"cmd": "sh", "params": ["-c", "sleep 0.3; echo hi; exit 3"]})

    assert exit_code == 0
    assert (json.loads(out)["output"], json.loads(out)["exit_code"]) == ("hi\n", 3)


async def test_a_payload_that_is_refused_is_no_success(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path))
    daemon.grants.clear()

    assert await run(daemon, "payload.sh", {"cmd": "true", "params": []}) == (22, b"")
