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
import socket
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
# How soon a child is seen that somebody has stopped.
_LOOK_MS = 20
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
    ours, its = socket.socketpair()
    with ours:
        with its:
            pid = fork_here(order, ours, its) if server is None else server.fork(order, its.fileno())
        with contextlib.suppress(BrokenPipeError):  # It was killed, which the session will see.
            ours.send(b"!", socket.MSG_NOSIGNAL)
        await_exec(pid, ours.fileno(), _START_MAX_MS)
    return pid


def await_exec(pid: int, child_fd: int, max_ms: int) -> None:
    """Return once the child has become the command, which closes its end of the socket `child_fd`.

    Raises:
        StepError: It has told why not, or nothing for `max_ms`, or was stopped; it is reaped.
    """
    poll = select.poll()
    poll.register(child_fd, select.POLLIN)
    looks = max(1, max_ms // _LOOK_MS)
    while not poll.poll(_LOOK_MS):
        looks -= 1
        # From where it has changed its ids, every process of its account can stop it, and would so stop our loop.
        if (is_stopped := _was_stopped(pid)) or not looks:
            os.kill(pid, signal.SIGKILL)
            if poll.poll(_END_MAX_MS):
                _reap(pid)
            # Else it hangs in the kernel, to be reaped by a sweep once that lets go of it.
            raise StepError(Step.EXEC, errno.EAGAIN if is_stopped else errno.ETIMEDOUT)
    if message := _read_message(child_fd):
        _reap(pid)
        step, error = message
        raise StepError(Step(step), error)


def _read_message(child_fd: int) -> bytes:
    try:
        return os.read(child_fd, 2)
    except ConnectionResetError:  # It was killed before it could begin.
        return b""


def _was_stopped(pid: int) -> bool:
    try:
        return os.waitid(os.P_PID, pid, os.WSTOPPED | os.WCONTINUED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:  # A host program may ignore SIGCHLD, and it has just ended.
        return False


def fork_here(order: Order, ours: socket.socket, its: socket.socket) -> int:
    """Fork this very process; return the pid of a child that is about to follow `order`, and has the end `its`.

    Raises:
        OSError: There is no process to be had.
    """
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        with warnings.catch_warnings():
            # CPython 3.12 and later warn where there are threads: a lock that one of them holds stays locked in the
            # child. What ours does until execve needs none, and the interpreter and libc see to their own.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            os.close(ours.fileno())  # Else it would wait for ever where we die before it may begin.
            become(order, its.fileno())
        return pid
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):  # A host program may ignore SIGCHLD.
        os.waitpid(pid, 0)
