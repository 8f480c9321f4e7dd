"""Room for `max_sessions`: open files and terminals that the kernel gives us, checked before the first client comes.

A session on a terminal holds three descriptors (socket, terminal, pidfd) and a fourth while it starts. One on pipes
holds five: a daemon full of those refuses with 503 before it has `max_sessions`.
"""

import resource
import sys
from collections.abc import Iterator
from pathlib import Path

from ws_subprocess.config.problems import Problem

FILES_PER_SESSION = 4
FILES_RESERVED = 64
# Sessions need a few descriptors less than are counted for them, so that many connections find room in any case.
CONNECTIONS_MIN = 16
TERMINALS_RESERVED = 64
TERMINALS_MAX = Path("/proc/sys/kernel/pty/max")


def make_room(max_sessions: int, terminals_max: Path = TERMINALS_MAX, max_waiting: int = 0) -> list[Problem]:
    """Raise the soft limit of open files as far as `max_sessions` needs; return what stands in the way.

    Args:
        max_waiting: Connections beside the sessions': for them it is raised too, as far as the hard limit lets us.
    """
    return [*_make_room_for_files(max_sessions, max_waiting), *_check_terminals(max_sessions, terminals_max)]


def connections_possible(max_sessions: int) -> int:
    """Return how many connections the soft limit of open files allows beside those of `max_sessions` sessions."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return sys.maxsize
    return max(CONNECTIONS_MIN, soft - _count_files(max_sessions))


def sessions_possible(terminals_max: Path = TERMINALS_MAX) -> int:
    """Return how many sessions the hard limit of open files and the kernel's terminals allow, at least 1."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    room = [int(terminals_max.read_text()) - TERMINALS_RESERVED]
    if hard != resource.RLIM_INFINITY:
        room.append((hard - FILES_RESERVED) // FILES_PER_SESSION)
    return max(1, min(room))


def _count_files(max_sessions: int) -> int:
    return max_sessions * FILES_PER_SESSION + FILES_RESERVED


def _make_room_for_files(max_sessions: int, max_waiting: int) -> Iterator[Problem]:
    needed = _count_files(max_sessions)
    wanted = needed + max_waiting
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    if hard == resource.RLIM_INFINITY or hard >= needed:
        raised = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (raised, hard))
        return
    text = (
        f"max_sessions = {max_sessions}: needs {needed} open files, the hard limit is {hard}; "
        f"raise it (ulimit -Hn {needed}, LimitNOFILE={needed}) or lower max_sessions to "
        f"{max(0, hard - FILES_RESERVED) // FILES_PER_SESSION}"
    )
    yield Problem("RLIMIT_NOFILE", "nofile_too_low", text)


def _check_terminals(max_sessions: int, terminals_max: Path) -> Iterator[Problem]:
    allowed = int(terminals_max.read_text())
    if max_sessions <= allowed - TERMINALS_RESERVED:
        return
    needed = max_sessions + TERMINALS_RESERVED
    text = (
        f"max_sessions = {max_sessions}: needs {needed} terminals, kernel.pty.max is {allowed}; "
        f"raise it (sysctl kernel.pty.max={needed}) or lower max_sessions to {max(0, allowed - TERMINALS_RESERVED)}"
    )
    yield Problem(str(terminals_max), "pty_max_too_low", text)
