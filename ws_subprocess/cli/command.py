"""Finds the command that `run` serves as a shell would, so that what goes wrong has the shell's statuses."""

import os

NOT_EXECUTABLE = 126
NOT_FOUND = 127


class CommandError(Exception):
    """The command cannot be run; `status` is what a shell's `$?` would be."""

    def __init__(self, status: int, text: str) -> None:
        self.status = status
        super().__init__(text)


def find_command(name: str, cwd: str) -> str:
    """Return the absolute path of `name`: through PATH, or below `cwd` when it has a slash.

    Raises:
        CommandError: There is no such file, or none that can be executed.
    """
    folders = [""] if "/" in name else os.get_exec_path()
    candidates = [os.path.abspath(os.path.join(cwd, folder, name)) for folder in folders if name]
    for path in candidates:
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    for path in filter(os.path.lexists, candidates):
        text = f"{path}: not an executable file; name a program, or run `chmod +x` on it"
        raise CommandError(NOT_EXECUTABLE, text)
    raise CommandError(NOT_FOUND, f"{name!r}: command not found; name a program in PATH or give its path")
