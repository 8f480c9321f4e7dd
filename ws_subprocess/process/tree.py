"""Find and end every process that a child left behind, however it hid: setsid, double fork, ignored signals.

Laws: signals go through pidfds only (a pid may belong to somebody else by now); a process belongs to a session by
evidence: its parent, its session id, its control group, or the session's id in its environment. A leader is not reaped
before its tree is gone, so that its number cannot be given to another process while we look.
"""

import math
import os
import signal
from collections.abc import Iterable, Set
from dataclasses import dataclass
from pathlib import Path

from ws_subprocess.model import SessionId
from ws_subprocess.process.environ import SESSION_VARIABLE

_PROC = Path("/proc")
_READ_BYTES = 65536


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """One line of the process table. `start_time` (ticks since boot) tells a process from a later one with its pid."""

    pid: int
    state: str
    parent: int
    session: int
    start_time: int

    @property
    def is_zombie(self) -> bool:
        """Whether it has ended and only waits to be reaped."""
        return self.state in "ZX"


def list_children() -> set[int] | None:
    """Return the pids of our children, zombies too; None where the kernel does not tell (CONFIG_PROC_CHILDREN)."""
    children: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        try:
            children.update(map(int, _read(f"/proc/self/task/{thread}/children").split()))
        except FileNotFoundError:
            # Either a thread that has just ended or a kernel without the file.
            if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
                return None
    return children


def read_row(pid: int) -> ProcessRow | None:
    """Return one process' line, None when it is gone."""
    try:
        text = _read(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError, PermissionError):  # Gone, or hidden from us: hidepid=1, proc(5).
        return None
    # The command's name stands in parentheses and may hold any byte, spaces and parentheses too: proc_pid_stat(5).
    fields = text[text.rindex(b")") + 2 :].split()
    return ProcessRow(pid, fields[0].decode(), int(fields[1]), int(fields[3]), int(fields[19]))


def read_table() -> dict[int, ProcessRow]:
    """Return the whole process table by pid."""
    rows = (read_row(int(name)) for name in os.listdir(_PROC) if name.isdecimal())
    return {row.pid: row for row in rows if row is not None}


def find_members(
    leader: int, session: SessionId, channels: frozenset[str], grouped: Set[int] = frozenset()
) -> list[ProcessRow]:
    """Return every living process of a session.

    Args:
        grouped: Who is in the session's control group, read before this is called.
        channels: The session's terminal or pipes as `/proc/PID/fd` names them. They tell an orphan of ours that has
            wiped its environment and left the session, but still holds what it was given.
    """
    table = read_table()
    ours = os.getpid()
    members = {pid for pid, row in table.items() if pid == leader or row.session == leader or pid in grouped}
    members.update(
        pid
        for pid, row in table.items()
        if pid not in members and (_has_mark(pid, session) or (row.parent == ours and _holds(pid, channels)))
    )
    _add_descendants(members, table)
    members.discard(ours)
    return [table[pid] for pid in members if not table[pid].is_zombie]


def find_marked(sessions: Set[str]) -> list[ProcessRow]:
    """Return every living process that has the mark of one of these sessions, and all below them."""
    table = read_table()
    members = {pid for pid in table if _read_mark(pid) in sessions}
    _add_descendants(members, table)
    members.discard(os.getpid())
    return [table[pid] for pid in members if not table[pid].is_zombie]


def find_strays(orphans: Iterable[int], leaders: Iterable[int], since: int) -> list[ProcessRow]:
    """Return adopted processes, and all below them, that were there before every leader: their sessions have ended.

    Args:
        since: Start time of the first child there ever was; what is older never belonged to a session.
    """
    table = read_table()
    oldest = min((table[pid].start_time for pid in leaders if pid in table), default=math.inf)
    members = {pid for pid in orphans if pid in table and since <= table[pid].start_time < oldest}
    _add_descendants(members, table)
    return [table[pid] for pid in members if not table[pid].is_zombie]


def send_signal(rows: Iterable[ProcessRow], number: int) -> None:
    """Signal each process that is still the one in its row."""
    for row in rows:
        try:
            pidfd = os.pidfd_open(row.pid)
        except (ProcessLookupError, PermissionError):
            continue
        try:
            now = read_row(row.pid)
            if now is not None and now.start_time == row.start_time:
                signal.pidfd_send_signal(pidfd, number)
        except (ProcessLookupError, PermissionError):
            # Gone, or a setuid program that is not ours to signal; survivors are reported by the caller.
            continue
        finally:
            os.close(pidfd)


def stop_and_kill(rows: list[ProcessRow]) -> None:
    """Kill processes that would fork to get away: stopped first, all of them, then killed."""
    send_signal(rows, signal.SIGSTOP)
    send_signal(rows, signal.SIGKILL)


def reap(pids: Iterable[int]) -> None:
    """Reap those of our adopted children that have ended."""
    for pid in pids:
        try:
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG)
        except ChildProcessError:
            continue


def _add_descendants(members: set[int], table: dict[int, ProcessRow]) -> None:
    children: dict[int, list[int]] = {}
    for row in table.values():
        children.setdefault(row.parent, []).append(row.pid)
    queue = list(members)
    while queue:
        for pid in children.get(queue.pop(), ()):
            if pid not in members:
                members.add(pid)
                queue.append(pid)


def _has_mark(pid: int, session: SessionId) -> bool:
    return f"{SESSION_VARIABLE}={session}".encode() in _read_environ(pid)


def _read_mark(pid: int) -> str:
    prefix = f"{SESSION_VARIABLE}=".encode()
    marks = (entry.removeprefix(prefix) for entry in _read_environ(pid) if entry.startswith(prefix))
    return next(marks, b"").decode("ascii", "replace")


def _read_environ(pid: int) -> list[bytes]:
    try:
        return _read(f"/proc/{pid}/environ").split(b"\0")
    except OSError:  # Gone, or another user's.
        return []


def _read(path: str) -> bytes:
    """Return a file of /proc, with half the system calls of `open`: each end of a session reads some."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        parts = []
        while part := os.read(descriptor, _READ_BYTES):
            parts.append(part)
        return b"".join(parts)
    finally:
        os.close(descriptor)


def _holds(pid: int, channels: frozenset[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        return any(os.readlink(f"{folder}/{fd}") in channels for fd in os.listdir(folder))
    except OSError:  # Gone, another user's, or a descriptor that was closed just now.
        return False
