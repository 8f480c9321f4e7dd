"""A real Chromium before the real daemon and the real example controller: what a person does, and what they see then.

The pictures it takes are kept in tests/artefacts.
"""

import hashlib
import json
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from daemon_process import WAIT_S, DaemonProcess, StartDaemon, daemon_environ
from javascript import ARTEFACTS, find_script
from observing import until
from programs import run_program

SHELL = ("/bin/bash", "--norc", "--noprofile")
# What `make demo` runs.
DEMO = (sys.executable, "-m", "example_controller.demo")
# One page, one command, no controller.
PAGE_SCENARIOS = (
    "run-page",
    "again",
    "flood",
    "clipboard",
    "themes",
    "touch-keys",
    "renderers",
    "element-api",
    "flat-box",
)


@pytest.fixture
async def page_url(launch_daemon: Callable[..., DaemonProcess]) -> str:
    """The address that `ws-subprocess run` prints, for a shell."""
    daemon = launch_daemon("run", "--writable", "--", *SHELL)
    await daemon.ready()
    return daemon.url


async def drive(chromium: str, *command: str) -> dict[str, Any]:
    """Run a script that steers the browser; return what it saw."""
    done = await run_program(command, environ=os.environ | {"CHROMIUM": chromium}, timeout_s=120)
    assert done.status == 0, done.stdout + done.stderr
    seen: dict[str, Any] = json.loads(done.stdout)
    return seen


async def play(chromium: str, scenario: str, url: str) -> dict[str, Any]:
    """Run one of the page's scenarios."""
    return await drive(chromium, *find_script("tests/js/browser/drive.mjs"), scenario, url, str(ARTEFACTS))


@pytest.mark.parametrize("scenario", PAGE_SCENARIOS)
async def test_the_page_does_what_a_person_expects(chromium: str, page_url: str, scenario: str) -> None:
    seen = await play(chromium, scenario, page_url)

    assert seen["ok"]


async def test_the_page_says_in_words_that_a_token_is_refused(chromium: str, page_url: str) -> None:
    seen = await play(chromium, "refused", page_url.partition("#")[0] + "#token=unknown")

    assert seen["heading"]


GRANTS = {
    "no-signals": 'command = "/bin/cat"\ntty = false\nrights = ["start", "view", "write"]',
    "output-exceeded": 'command = "/usr/bin/seq"\nargs = ["200000"]\nmax_output_bytes = 5000',
}


@pytest.mark.parametrize("scenario", GRANTS)
async def test_the_page_says_in_words_what_a_grant_does_not_allow(
    chromium: str, launch_daemon: Callable[..., DaemonProcess], tmp_path: Path, scenario: str
) -> None:
    token = f"{scenario}-0123456789abcdef0123456789abcdef"
    digest = hashlib.sha256(token.encode()).hexdigest()
    entry = f'[[token]]\nname = "{scenario}"\nhash = "sha256:{digest}"\ndoors = ["terminal"]\n{GRANTS[scenario]}\n'
    (tmp_path / "tokens.toml").write_text(entry)
    daemon = launch_daemon("serve", "--listen", "127.0.0.1:0", "--tokens-file", str(tmp_path / "tokens.toml"))
    await daemon.ready()

    seen = await play(chromium, scenario, f"{daemon.url}/#token={token}")

    assert seen["ok"]


async def test_the_page_of_the_http_doors_shows_every_route(chromium: str, start_daemon: StartDaemon) -> None:
    daemon = await start_daemon("--process-door", "--payloads-door", "--rpc-door")

    seen = await play(chromium, "http-docs", f"{daemon.url}/docs")

    assert seen["dark"]["described"] > 10


@pytest.fixture
async def demo_url(launch_daemon: Callable[..., DaemonProcess], tmp_path: Path) -> AsyncIterator[str]:
    """Where the demo's pages are; its daemon listens on another port, so its script and websocket cross origins."""
    environ = daemon_environ(XDG_STATE_HOME=str(tmp_path))
    demo = launch_daemon("--listen", "127.0.0.1:0", "--daemon-listen", "127.0.0.1:0", program=DEMO, environ=environ)
    await until(lambda: re.search(r"^Open http\S+ ", demo.output, re.MULTILINE), "the demo's address", WAIT_S)

    yield re.findall(r"^Open (\S+)", demo.output, re.MULTILINE)[0]

    demo.send(signal.SIGTERM)
    assert await demo.ended() == 0


async def test_the_demo_lets_a_person_log_in_and_work_in_a_shell(chromium: str, demo_url: str) -> None:
    seen = await drive(chromium, *find_script("tests/system/demo.mjs"), demo_url, str(ARTEFACTS))

    first, second = seen["sizes"]
    assert second["rows"] < first["rows"]
    assert second["cols"] < first["cols"]
    assert seen["outcome"]["exitCode"] == 3
    assert (ARTEFACTS / "demo-running.png").stat().st_size > 0


async def test_another_sites_page_embeds_the_terminal_and_starts_again_with_a_new_token(
    chromium: str, demo_url: str
) -> None:
    seen = await play(chromium, "embed", demo_url)

    assert seen["page"] != seen["daemon"]
