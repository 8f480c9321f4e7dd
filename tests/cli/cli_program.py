"""Runs the real program as a person would, with nothing of ours in its environment unless a test puts it there."""

import os
import subprocess
import sys
from dataclasses import dataclass

DEADLINE_S = 20
PROGRAM = [sys.executable, "-m", "ws_subprocess"]


@dataclass(frozen=True)
class Result:
    """How the program ended and what it wrote."""

    status: int
    stdout: str
    stderr: str


def clean_environ(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WS_SUBPROCESS_")}
    return kept | variables


def run_program(*args: str, cwd: str | None = None, **variables: str) -> Result:
    """Run `ws-subprocess ARGS` to its end."""
    done = subprocess.run(
        [*PROGRAM, *args],
        env=clean_environ(**variables),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)
