"""A small process that forks confined children in the daemon's place.

A fork copies the page tables of who forks, and the daemon's grow with every session's output: 40 ms for 1 GiB, while
nothing else moves. Nor is it safe where there are threads: a lock that one of them holds stays locked in the child.
This process has 15 MiB, one thread and nothing else to do. Its children are the daemon's own (CLONE_PARENT, clone(2)).

Laws: only the daemon can ask it, by a socket that nobody else has; it ends with that socket; its answer comes when its
own copies of the descriptors are closed.
"""

import contextlib
import ctypes
import errno
import marshal
import os
import select
import signal
import socket
import struct
import sys
from pathlib import Path
from typing import NamedTuple

from ws_subprocess.process import posix_spawn, prctl, syscalls
from ws_subprocess.process.become import SIGNALS, Order, Step, StepError, become
from ws_subprocess.process.posix_spawn import FileActions, watch

_CLONE_PARENT = 0x8000
_PID = struct.Struct("q")
_FDS_MAX = 16
_ANSWER_MAX_S = 5.0
_END_MAX_MS = 1000
_MAIN = "import sys; sys.path.insert(0, sys.argv[1]); from ws_subprocess.process.fork_server import serve; serve()"


class _Server(NamedTuple):
    pid: int
    pidfd: int
    channel: socket.socket


class ForkServer:
    """The daemon's end: starts the process with the first question, and again when it was killed.

    Args:
        answer_max_s: How long it may take to fork, or at first to start; the daemon's loop stands still meanwhile.
    """

    def __init__(self, answer_max_s: float = _ANSWER_MAX_S) -> None:
        self._answer_max_s = answer_max_s
        self._server: _Server | None = None

    @staticmethod
    def is_possible() -> bool:
        """Tell whether there can be one: clone's number is known here, and there is an interpreter to start."""
        return syscalls.CLONE is not None and bool(sys.executable)

    @property
    def pids(self) -> frozenset[int]:
        """Its process, which is our child and serves no session."""
        return frozenset() if self._server is None else frozenset({self._server.pid})

    def fork(self, order: Order, parent_fd: int) -> int:
        """Return the pid of a new child of this process that is about to follow `order`.

        Raises:
            OSError: There is no process, memory or descriptor to be had.
        """
        given = sorted({*(source for source, _ in order.dups if source > 2), *order.entrances})
        paper = os.memfd_create("order", os.MFD_CLOEXEC)
        try:
            with os.fdopen(paper, "wb", closefd=False) as file:
                marshal.dump((tuple(order), given), file)
            return self._ask([paper, parent_fd, *given])
        finally:
            os.close(paper)

    def close(self) -> None:
        """End the process; the next question would start another."""
        if self._server is not None:
            server, self._server = self._server, None
            server.channel.close()
            with contextlib.suppress(ProcessLookupError, ChildProcessError):  # A host program may reap all.
                signal.pidfd_send_signal(server.pidfd, signal.SIGKILL)
                poll = select.poll()
                poll.register(server.pidfd, select.POLLIN)
                if poll.poll(_END_MAX_MS):  # Else a sweep reaps it once the kernel lets go of it.
                    os.waitid(os.P_PIDFD, server.pidfd, os.WEXITED)
            os.close(server.pidfd)

    def _ask(self, fds: list[int]) -> int:
        server = self._server or self._start()
        try:
            socket.send_fds(server.channel, [b"?"], fds, socket.MSG_NOSIGNAL)
        except (BrokenPipeError, ConnectionResetError):  # Somebody has killed it; nothing was begun.
            self.close()
            server = self._start()
            socket.send_fds(server.channel, [b"?"], fds, socket.MSG_NOSIGNAL)
        try:
            answer = server.channel.recv(_PID.size)
        except OSError:
            answer = b""
        if len(answer) != _PID.size:
            # It has died or hangs with our question. A child that it has made all the same is never told to begin.
            self.close()
            raise StepError(Step.WIRE, errno.EAGAIN)
        (pid,) = _PID.unpack(answer)
        if pid < 0:
            raise OSError(-pid, os.strerror(-pid))
        return int(pid)

    def _start(self) -> _Server:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            ours.settimeout(self._answer_max_s)
            argv = [sys.executable, "-I", "-S", "-B", "-c", _MAIN, str(Path(__file__).parents[2])]
            # Not our stdout, which may be somebody's pipe; our stderr, for the traceback of one that cannot start.
            actions = FileActions(opens=[(1, os.devnull)], dups=[(its.fileno(), 0)])
            pid = posix_spawn.spawn(sys.executable, argv, {}, actions, None)
            pidfd = watch(pid)
        except OSError:
            ours.close()
            raise
        finally:
            its.close()
        self._server = _Server(pid, pidfd, ours)
        return self._server


def serve() -> None:
    """Fork for whoever has the other end of our stdin, until that is closed."""
    prctl.forbid_inspection()  # The daemon's account is some commands' too.
    channel = socket.socket(fileno=os.dup(0))
    os.dup2(1, 0)  # No child gets the channel, were it never wired.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # What is sent to it by mistake reaches no child.
    while True:
        question, fds, _, _ = socket.recv_fds(channel, 1, _FDS_MAX)
        if not question:
            return
        for fd in fds:
            os.set_inheritable(fd, False)  # recv_fds pays no heed to MSG_CMSG_CLOEXEC (CPython 3.11).
        pid = _fork_one(channel, fds)
        for fd in fds:
            os.close(fd)
        channel.send(_PID.pack(pid))


def _fork_one(channel: socket.socket, fds: list[int]) -> int:
    """Return a new child's pid, or an error number below 0."""
    paper, parent_fd, *taken = fds
    os.lseek(paper, 0, os.SEEK_SET)
    with os.fdopen(paper, "rb", closefd=False) as file:
        fields, given = marshal.load(file)  # noqa: S302 - only the daemon has the other end
    order = _renumber(Order(*fields), dict(zip(given, taken, strict=True)))
    assert syscalls.CLONE is not None  # `is_possible` has said so.
    pid = syscalls.call(syscalls.CLONE, _CLONE_PARENT | signal.SIGCHLD)
    if pid == 0:
        os.close(channel.fileno())  # Else the daemon would not see at once that we have died before our answer.
        become(order, parent_fd)
    return pid if pid > 0 else -ctypes.get_errno()


def _renumber(order: Order, numbers: dict[int, int]) -> Order:
    """Return `order` with the numbers that its descriptors have here."""
    dups = tuple((numbers.get(source, source), target) for source, target in order.dups)
    return order._replace(dups=dups, entrances=tuple(numbers[fd] for fd in order.entrances))
