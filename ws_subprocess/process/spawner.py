"""The only place that starts processes; it keeps the list of those that live.

Laws: no Grant, no process; what was checked before the spawn is checked again by the kernel, whose error number reaches
the caller; a failed start leaves no process and no descriptor.
"""

import asyncio
import errno
import logging
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager

from ws_subprocess.errors import CapacityError, SpawnError
from ws_subprocess.model import Grant, SessionId, Size
from ws_subprocess.process import tree
from ws_subprocess.process.child import LocalChild
from ws_subprocess.process.environ import Environment
from ws_subprocess.process.posix_spawn import can_set_cwd, spawn
from ws_subprocess.process.streams import BURST_BYTES
from ws_subprocess.process.wiring import Wiring, wire_pipes, wire_terminal

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC})
_RETRY_AFTER_S = 1

log = logging.getLogger(__name__)


class Spawner:
    """Starts granted commands on this machine.

    Args:
        input_limit_bytes: Bound of each child's queue of unwritten input.
        owns_process: True when every child of this process is ours (the daemon), False inside somebody else's program.
            Only then are orphans adopted, which makes "is anything left of this session?" one small read.
        child_nofile: Soft limit of open files for children, when the daemon raised its own; None leaves it alone.
    """

    def __init__(self, input_limit_bytes: int, owns_process: bool, child_nofile: int | None = None) -> None:
        self._input_limit_bytes = input_limit_bytes
        self._owns_process = owns_process
        self._child_nofile = child_nofile
        self._environment = Environment()
        self._children: dict[int, LocalChild] = {}
        # When the first child started, in ticks; what is older (a browser that was opened for a person) is no child's.
        self._since: int | None = None
        self._scratch = memoryview(bytearray(BURST_BYTES))
        if owns_process:
            tree.adopt_orphans()

    def start(self, grant: Grant, session: SessionId, size: Size) -> LocalChild:
        """Start the granted command; nothing is read or told before `LocalChild.start`.

        Raises:
            SpawnError: The command or its directory cannot be used; `detail` says why.
            CapacityError: The machine has no process, descriptor, terminal or memory to give now.
        """
        if grant.cwd is not None and not can_set_cwd():
            raise SpawnError("spawn_cwd", f"cwd {grant.cwd!r}: this libc cannot set it (glibc 2.29 or newer can)")
        environment = self._environment.build(session, grant.tty, grant.env)
        wiring: Wiring | None = None
        try:
            wiring = wire_terminal(size) if grant.tty else wire_pipes()
            with _soft_nofile(self._child_nofile):
                pid = spawn(grant.command, [grant.command, *grant.args], environment, wiring.actions, grant.cwd)
            pidfd = _watch(pid)
        except OSError as exc:
            if wiring is not None:
                wiring.close_childs()
                wiring.close_ours()
            raise _explain(exc, grant) from exc
        wiring.close_childs()
        return self._enroll(pid, pidfd, session, wiring)

    def is_tree_empty(self, child: LocalChild) -> bool:
        """Tell whether nothing but the leader is left of a child whose leader has exited."""
        children = tree.list_children() if self._owns_process else None
        if children is None:
            return not child.find_members()
        orphans = children - self._children.keys()
        if not orphans:
            return True
        # An orphan that has ended only waits for us; one that lives may belong to any session, so look closer.
        tree.reap(orphans)
        return not child.find_members()

    def strike(self, child: LocalChild) -> None:
        """Take a closed child off the list; with the last one go orphans that no session could claim."""
        self._children.pop(child.pid, None)
        if self._owns_process and not self._children:
            self.sweep()

    def sweep(self) -> None:
        """Reap orphans that have ended, and kill those that can belong to no living child: older than all of them."""
        try:
            self._sweep()
        except OSError as exc:
            # Reading /proc takes a descriptor, and clients may have them all: the next sweep goes on.
            log.warning("cannot look for stray processes", extra={"reason": exc.strerror})

    def _sweep(self) -> None:
        orphans = (tree.list_children() or set()) - self._children.keys()
        if not orphans:
            return
        if self._since is not None and (strays := tree.find_strays(orphans, self._children, self._since)):
            log.warning("killing stray processes", extra={"pids": [row.pid for row in strays]})
            tree.stop_and_kill(strays)
        tree.reap(orphans)

    def _enroll(self, pid: int, pidfd: int, session: SessionId, wiring: Wiring) -> LocalChild:
        child = LocalChild(
            asyncio.get_running_loop(),
            self,
            session,
            pid,
            pidfd,
            wiring,
            self._input_limit_bytes,
            self._scratch,
        )
        self._children[pid] = child
        if self._since is None:
            self._since = _read_start_time(pid)
        return child


def _read_start_time(pid: int) -> int | None:
    try:
        row = tree.read_row(pid)
    except OSError:  # No descriptor to be had just now; the next child will tell.
        return None
    return None if row is None else row.start_time


def _watch(pid: int) -> int:
    """Return a pidfd of a child that was just started; where there is none to be had it must not run."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # It is ours and not reaped, so the number is still its own.
        os.waitpid(pid, 0)
        raise


@contextmanager
def _soft_nofile(soft: int | None) -> Iterator[None]:
    """Give children started in the block this soft limit of open files, which is ours meanwhile; None leaves it alone.

    A limit set afterwards from outside (prlimit(2)) would come too late for a quick child. What is open stays open.
    """
    if soft is None:
        yield
        return
    ours, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, ours), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ours, hard))


def _explain(exc: OSError, grant: Grant) -> SpawnError | CapacityError:
    """Turn an error number into words for the log: which of command, directory or machine was it."""
    if exc.errno in _NO_ROOM:
        return CapacityError("no_resources", f"{grant.command}: {exc.strerror}", _RETRY_AFTER_S)
    if grant.cwd is not None and not (os.path.isdir(grant.cwd) and os.access(grant.cwd, os.X_OK)):
        return SpawnError("spawn_cwd", f"cwd {grant.cwd!r}: {exc.strerror}")
    return SpawnError("spawn_failed", f"command {grant.command!r}: {exc.strerror}")
