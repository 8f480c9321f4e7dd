"""What a forked child does until it is the command: a straight line of system calls that ends in execve or `_exit`.

Laws: it takes no lock and starts nothing; it does not become what nobody knows of: it waits until the parent, who has
its number then, says so; whatever fails reaches the parent as a step and an error number; signals are blocked until
their handlers are gone, so that none of the parent's ever runs here.
"""

import contextlib
import ctypes
import errno
import gc
import os
import resource
import signal
from enum import IntEnum
from typing import NamedTuple, NoReturn

from ws_subprocess.process import prctl
from ws_subprocess.process.posix_spawn import string_array

SIGNALS = signal.valid_signals()
_RESETTABLE = tuple(SIGNALS - {signal.SIGKILL, signal.SIGSTOP})

_libc = ctypes.CDLL(None, use_errno=True)
# Looked up now: the child must not have to.
_execve = _libc.execve


class Step(IntEnum):
    """What the child was about to do when it failed."""

    WIRE = 1
    CGROUP = 2
    LIMITS = 3
    USER = 4
    CWD = 5
    EXEC = 6


class StepError(OSError):
    """A child could not be made ready: `step` and `errno` say where and why."""

    def __init__(self, step: Step, number: int) -> None:
        super().__init__(number, os.strerror(number))
        self.step = step


class Order(NamedTuple):
    """Everything that a child has to do, in plain values that `marshal` can carry to another process.

    Attributes:
        opens, dups: As `posix_spawn.FileActions` has them.
        entrances: Open `cgroup.procs` of the control groups to enter.
        limits: (RLIMIT_*, soft, hard), set while still root, so that too many processes of the account are noticed.
        address_space_bytes: RLIMIT_AS, set last: getting ready takes memory too.
        ids: User, group and all groups to take, for good; None changes nothing.
    """

    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: bytes | None
    opens: tuple[tuple[int, bytes], ...]
    dups: tuple[tuple[int, int], ...]
    entrances: tuple[int, ...]
    limits: tuple[tuple[int, int, int], ...]
    address_space_bytes: int | None
    umask: int | None
    ids: tuple[int, int, tuple[int, ...]] | None
    no_new_privs: bool


def become(order: Order, parent_fd: int) -> NoReturn:
    """Turn this process into the command; on failure write step and error number to the parent, and end.

    Args:
        parent_fd: A byte comes from here when we may begin, and the end of file when we may not. Closed by execve,
            which tells that all went well.
    """
    step, error = Step.WIRE, errno.ENOMEM  # What raises no OSError below can only have found no memory.
    try:
        gc.disable()  # Finalizers of the parent's objects are none of our business.
        if not os.read(parent_fd, 1):
            os._exit(127)
        argv, env = string_array(order.argv), string_array(order.env)
        os.setsid()
        for number in _RESETTABLE:
            signal.signal(number, signal.SIG_DFL)
        _wire(order)
        step = Step.CGROUP
        for fd in order.entrances:
            os.write(fd, b"0")
        step = Step.LIMITS
        for kind, soft, hard in order.limits:
            resource.setrlimit(kind, (soft, hard))
        if order.umask is not None:
            os.umask(order.umask)
        step = Step.USER
        if order.ids is not None:
            _change_ids(*order.ids)
        if order.no_new_privs:
            prctl.forbid_new_privileges()
        step = Step.CWD
        if order.cwd is not None:
            os.chdir(order.cwd)  # As the account: what it may not enter, it does not get.
        step = Step.LIMITS
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if (most := order.address_space_bytes) is not None:
            resource.setrlimit(resource.RLIMIT_AS, (most, most))
        step = Step.EXEC
        _execve(order.argv[0], argv, env)
        error = ctypes.get_errno()
    except OSError as exc:
        error = exc.errno or errno.EIO
    finally:
        try:
            os.write(parent_fd, bytes((step, error)))
        finally:
            os._exit(127)


def _wire(order: Order) -> None:
    for target, path in order.opens:
        # Opened after setsid, a terminal becomes the controlling one (no O_NOCTTY).
        os.dup2(os.open(path, os.O_RDWR), target)
    for source, target in order.dups:
        os.dup2(source, target)
    # Not closerange: a Python that was built without close_range(2) tries every number below the limit of open files,
    # which can be a thousand million in a container.
    for fd in map(int, os.listdir("/proc/self/fd")):
        if fd > 2:
            with contextlib.suppress(OSError):  # The listing's own is closed by now.
                os.set_inheritable(fd, False)


def _change_ids(uid: int, gid: int, groups: tuple[int, ...]) -> None:
    """Take these real, effective and saved ids and these groups; keep no capability."""
    prctl.leave_session_keyring()
    os.setgroups(groups)
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    if uid != 0:
        # The kernel has dropped them, unless somebody set securebits (SECBIT_NO_SETUID_FIXUP) for the daemon.
        prctl.drop_capabilities()
