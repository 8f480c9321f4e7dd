"""Where node and the clients from npm are; without them the tests fail, because `make test` installs them."""

import shutil
from pathlib import Path

from daemon_process import REPOSITORY

SCRIPTS = Path("tests", "js")
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


def _find(path: Path) -> str:
    assert (REPOSITORY / path).exists(), f"{path}: missing; `make test` runs `npm ci` in {SCRIPTS} for it"
    return str(REPOSITORY / path)
