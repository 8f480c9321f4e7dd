"""Process trees that do not want to die, and the mark by which every one of their processes is found again.

The mark is an argument of each process, because a process can wipe its environment, leave its session and outlive its
parents, but its arguments stay.
"""

import os
import secrets
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# Everybody sleeps for a number of seconds that nobody else has; `$1` is that number.
HOSTILE_TREE = """
# Answers a signal with a child in a session of its own.
sh -c 'trap "setsid sleep $0 &" HUP TERM; while :; do sleep 0.02; done' "$1" &
# What is ignored here is ignored by all that follows.
trap '' HUP TERM INT
setsid sleep "$1" &
# Two forks: its parent is gone.
(setsid sleep "$1" &)
# And nothing is left that tells whose it is.
(env -i setsid sleep "$1" &)
# An ordinary child in the background.
sleep "$1" &
echo ready
exec sleep "$1"
"""
LEAST_MARKED = 6


def hostile_arguments(mark: str) -> list[str]:
    """Return the arguments for /bin/sh; `mark` is a number of seconds."""
    return ["-c", HOSTILE_TREE, "sh", mark]


@contextmanager
def marking() -> Iterator[str]:
    """Give a mark that no other process has; whoever has it in the end, because a test failed, is killed."""
    mark = f"9{secrets.randbelow(10**4):04}.{secrets.randbelow(10**12):012}"
    try:
        yield mark
    finally:
        for pid in find_marked(mark):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def find_marked(mark: str) -> dict[int, str]:
    """Return the command lines of all living processes that have `mark` as an argument, by pid."""
    found = {}
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            arguments = path.read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if mark.encode() in arguments:
            found[int(path.parent.name)] = b" ".join(arguments).decode(errors="replace")
    return found
