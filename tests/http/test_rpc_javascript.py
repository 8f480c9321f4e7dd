"""static/rpc.js and its example page with the real door: in node, and in a real Chromium under the page's policy."""

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from http_daemon import HttpDaemon

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "tests" / "js"
ARTEFACTS = ROOT / "tests" / "artefacts"
BROWSER_S = 60.0

Start = Callable[..., Awaitable[HttpDaemon]]


@pytest.fixture
def chromium() -> str:
    """The browser's path. On a developer's machine it may be missing, in CI it may not."""
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if found is not None:
        return found
    complaint = "not run: no Chromium in PATH; install it or name it in CHROMIUM"
    if os.environ.get("CI"):
        pytest.fail(complaint)
    pytest.skip(complaint)


async def run_script(name: str, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run a script with node; return the JSON that it prints."""
    node = shutil.which("node")
    assert node is not None, "node: not found; `make test` puts it into the PATH"
    process = await asyncio.create_subprocess_exec(
        node,
        str(SCRIPTS / name),
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=os.environ | variables,
    )
    try:
        async with asyncio.timeout(BROWSER_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()
    seen: dict[str, Any] = json.loads(out)
    return seen


async def test_the_client_in_javascript_speaks_both_languages_with_the_door(start_http: Start) -> None:
    daemon = await start_http(rpc_door=True)

    seen = await run_script("rpc-client.mjs", daemon.url, "t0ken")

    assert (seen["written"], seen["exitCode"], seen["output"], seen["sessions"]) == (3, 4, "hi\n", 1)
    assert seen["refused"] == {"message": "Invalid token", "code": "denied"}
    assert seen["nobody"] == {"code": "unauthorized", "status": 401}
    assert (seen["older"]["wrpc"], seen["older"]["ok"]) == (1, True)


async def test_the_example_page_starts_a_command_and_talks_to_it(start_ours: Start, chromium: str) -> None:
    daemon = await start_ours(rpc_door=True)

    seen = await run_script("browser/rpc-page.mjs", daemon.url, "t0ken", str(ARTEFACTS), CHROMIUM=chromium)

    assert seen["address"] == f"{daemon.url}/static/rpc.html"
    assert "Größe?\ngrößer als größte\n" in seen["output"]
    assert seen["stderr"] == "a word on stderr\n"
    assert seen["problem"] == "Invalid token"
    assert seen["complaints"] == []
