"""What each demo user may run, and the grant that tells the daemon so.

Law: a person chooses an `id` from this list and nothing else. No part of a command line ever comes from a browser.
"""

import os
import shlex
import shutil
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

GUIDE = Path(__file__).with_name("guide.txt")


class CommandMissingError(Exception):
    """The text names the command that this machine does not have."""


@dataclass(frozen=True, slots=True)
class Program:
    """One thing a user may run. `options` are further keys of the grant: PROTOCOL.md, "The grant"."""

    id: str
    name: str
    description: str
    argv: tuple[str, ...]
    options: Mapping[str, object] = field(default_factory=dict)

    def grant(self) -> dict[str, object] | None:
        """Return what the daemon is to run, or None when this machine does not have the command."""
        command = shutil.which(self.argv[0])
        if command is None:
            return None
        return {"command": os.path.abspath(command), "args": list(self.argv[1:]), **self.options}


@dataclass(frozen=True, slots=True)
class DemoUser:
    """A user made at the first start. The login page shows the password: a demo only."""

    name: str
    password: str
    description: str
    programs: tuple[Program, ...]


_AT_HOME: Mapping[str, object] = {"cwd": str(Path.home()), "idle_timeout_s": 3600}
_LOOK_BUT_DO_NOT_TOUCH: Mapping[str, object] = {"read_only": True, "max_lifetime_s": 3600}
# A pager or an editor is a shell in disguise (`!sh` in less, Ctrl-T in nano) unless it is told not to be one.
_GUIDE_AND_NO_SHELL: Mapping[str, object] = {
    "title": "Guide",
    "cwd": str(GUIDE.parent),
    "env": {"LESSSECURE": "1"},
    "idle_timeout_s": 3600,
}

OPERATOR = DemoUser(
    "operator",
    "let-me-type",
    "Works on this machine: a shell, editors, Python.",
    (
        Program("bash", "Bash", "A login shell in your home directory.", ("bash", "-l"), _AT_HOME),
        Program("python", "Python", "The interpreter this example runs on.", (sys.executable, "-q"), _AT_HOME),
        Program("vim", "Vim", "The editor with modes, on an empty text.", ("vim",), _AT_HOME),
        Program("nano", "nano", "The editor without modes, on an empty text.", ("nano",), _AT_HOME),
        Program("htop", "htop", "Processes, memory and load, in colour.", ("htop",), _AT_HOME),
        Program("top", "top", "Processes, memory and load.", ("top",), _AT_HOME),
    ),
)
VIEWER = DemoUser(
    "viewer",
    "let-me-look",
    "Looks, and changes nothing.",
    (
        Program("top", "top", "What the machine does. No key reaches it.", ("top",), _LOOK_BUT_DO_NOT_TOUCH),
        Program("guide", "Guide", "How this example works, in less.", ("less", GUIDE.name), _GUIDE_AND_NO_SHELL),
        Program(
            "guide-nano",
            "Guide in nano",
            "The same text in an editor that can write nothing.",
            ("nano", "--restricted", "--view", GUIDE.name),
            _GUIDE_AND_NO_SHELL,
        ),
    ),
)
DEMO_USERS = (OPERATOR, VIEWER)


def programs_of(user_name: str) -> tuple[Program, ...]:
    """Return what this user may run on this machine: a real application asks its own permissions here."""
    allowed = {user.name: user.programs for user in DEMO_USERS}.get(user_name, ())
    return tuple(program for program in allowed if program.grant() is not None)


def single_command(argv: Sequence[str]) -> Program:
    """Return the one program of the one-command variant; it runs in the directory we were started in.

    Raises:
        CommandMissingError: This machine does not have it.
    """
    program = Program("command", Path(argv[0]).name, shlex.join(argv), tuple(argv), {"cwd": os.getcwd()})
    if program.grant() is None:
        raise CommandMissingError(f"{argv[0]}: there is no such program on this machine")
    return program
