"""Node, the clients from npm, and a browser; without the first two tests fail, because `make test` installs them."""

import os
import shutil
from pathlib import Path

import pytest
from daemon_process import REPOSITORY

SCRIPTS = Path("tests", "js")
ARTEFACTS = REPOSITORY / "tests" / "artefacts"
MODULES = SCRIPTS / "node_modules"


def find_node() -> str:
    """Return node's path."""
    node = shutil.which("node")
    assert node is not None, "node: not found; `make test` puts it into the PATH"
    return node


def find_client(name: str) -> list[str]:
    """Return the command of a program that an npm package brought."""
    return [find_node(), _find(MODULES / ".bin" / name)]


def find_script(path: str) -> list[str]:
    """Return the command of a script of ours that needs the packages; `path` starts at the repository."""
    _find(MODULES)
    return [find_node(), _find(Path(path))]


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


def _find(path: Path) -> str:
    assert (REPOSITORY / path).exists(), f"{path}: missing; `make test` runs `npm ci` in {SCRIPTS} for it"
    return str(REPOSITORY / path)
