"""Starting a command that the kernel is to hold to something: fork, a straight line of system calls, execve.

posix_spawn(3) cannot set limits, enter control groups or change the user, and a launcher program between us and the
command would cost an exec and have no way to tell what went wrong. Only confined commands pay for the fork.

Laws: whatever fails in the child is raised here, and then no process is left; the child never hears a signal of ours.
"""

import contextlib
import errno
import os
import select
import signal
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ws_subprocess.process.accounts import Account
from ws_subprocess.process.become import SIGNALS, Order, Step, StepError, become
from ws_subprocess.process.fork_server import ForkServer
from ws_subprocess.process.posix_spawn import FileActions

# The loop stands still while the child gets ready, 1 or 2 ms as a rule. execve from a network file system that does not
# answer must not stop it for ever.
_START_MAX_MS = 5000
_END_MAX_MS = 50


@dataclass(frozen=True, slots=True)
class Confines:
    """What a child does to itself before it becomes the command; see `become.Order`. None changes nothing."""

    limits: tuple[tuple[int, int, int], ...] = ()
    address_space_bytes: int | None = None
    entrances: tuple[int, ...] = ()
    umask: int | None = None
    account: Account | None = None
    no_new_privs: bool = False


def build_order(
    argv: Sequence[str], env: Mapping[str, str], actions: FileActions, cwd: str | None, confines: Confines
) -> Order:
    """Return the order to run `argv[0]`, an absolute path, within `confines`."""
    account = confines.account
    return Order(
        argv=tuple(map(os.fsencode, argv)),
        env=tuple(os.fsencode(f"{name}={value}") for name, value in env.items()),
        cwd=os.fsencode(cwd) if cwd is not None else None,
        opens=tuple((target, os.fsencode(path)) for target, path in actions.opens),
        dups=tuple(actions.dups),
        entrances=confines.entrances,
        limits=confines.limits,
        address_space_bytes=confines.address_space_bytes,
        umask=confines.umask,
        ids=(account.uid, account.gid, account.groups) if account is not None else None,
        no_new_privs=confines.no_new_privs,
    )


def spawn_confined(order: Order, server: ForkServer | None) -> int:
    """Start what `order` says, as a child of this process whoever forks it; return its pid.

    Args:
        server: Who forks; None forks this very process.

    Raises:
        StepError: From the child; no process is left.
        OSError: There is no process or descriptor to be had.
    """
    told, tell = os.pipe2(os.O_CLOEXEC)
    try:
        try:
            pid = _fork_here(order, tell) if server is None else server.fork(order, tell)
        finally:
            os.close(tell)
        await_exec(pid, told, _START_MAX_MS)
    finally:
        os.close(told)
    return pid


def await_exec(pid: int, told: int, max_ms: int) -> None:
    """Return once the child has become the command, which closes its end of the pipe `told`.

    Raises:
        StepError: It has told why not, or nothing for `max_ms`; it is reaped.
    """
    poll = select.poll()
    poll.register(told, select.POLLIN)
    if not poll.poll(max_ms):
        os.kill(pid, signal.SIGKILL)
        if poll.poll(_END_MAX_MS):
            _reap(pid)
        # Else it hangs in the kernel, to be reaped by a sweep once that lets go of it.
        raise StepError(Step.EXEC, errno.ETIMEDOUT)
    if message := os.read(told, 2):
        _reap(pid)
        step, error = message
        raise StepError(Step(step), error)


def _fork_here(order: Order, tell: int) -> int:
    open_max = os.sysconf("SC_OPEN_MAX")
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with warnings.catch_warnings():
            # CPython 3.12 and later warn where there are threads: a lock that one of them holds stays locked in the
            # child. What ours does until execve needs none, and the interpreter and libc see to their own.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            become(order, tell, open_max)
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # A host program may ignore SIGCHLD.
        os.waitpid(pid, 0)
