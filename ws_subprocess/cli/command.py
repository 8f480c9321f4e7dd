"""The command that `run` serves: found as a shell finds it, so that its errors are the shell's."""

import os
import sys
from typing import NoReturn

import click

NOT_EXECUTABLE = 126
NOT_FOUND = 127


def find_command(name: str, cwd: str) -> str:
    """Return the absolute path of `name`: through PATH, or below `cwd` when it has a slash.

    Exits with status 127 when there is no such file, with 126 when there is one that cannot be executed.
    """
    folders = [""] if "/" in name else os.get_exec_path()
    candidates = [os.path.abspath(os.path.join(cwd, folder, name)) for folder in folders if name]
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    for path in candidates:
        if os.path.lexists(path):
            _exit(NOT_EXECUTABLE, f"{path}: not an executable file; name a program, or run `chmod +x` on it")
    _exit(NOT_FOUND, f"{name!r}: command not found; name a program in PATH or give its path")


def _exit(status: int, text: str) -> NoReturn:
    click.echo(f"ws-subprocess: {text}", err=True)
    sys.exit(status)
