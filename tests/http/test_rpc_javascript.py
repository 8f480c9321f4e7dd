"""static/rpc.js and its example page with the real door: in node, and in a real Chromium under the page's policy."""

import json
import os
from collections.abc import Awaitable, Callable
from typing import Any

from http_daemon import HttpDaemon
from javascript import ARTEFACTS, find_script
from programs import run_program

Start = Callable[..., Awaitable[HttpDaemon]]


async def run_script(name: str, *arguments: str, **variables: str) -> dict[str, Any]:
    """Run a script with node; return the JSON that it prints."""
    done = await run_program([*find_script(f"tests/js/{name}"), *arguments], environ=os.environ | variables)
    assert done.status == 0, done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
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
    assert seen["isFocused"]
    assert seen["problem"] == "Invalid token"
    assert seen["complaints"] == []
