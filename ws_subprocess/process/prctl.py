"""prctl(2), capset(2) and keyctl(2), which Python's own library lacks."""

import ctypes
import errno
import os

from ws_subprocess.process import syscalls

_PR_SET_DUMPABLE = 4
_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_KEYCTL_JOIN_SESSION_KEYRING = 1
_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
# Looked up now: a forked child must not have to.
_prctl, _capset = _libc.prctl, _libc.capset
# capget(2): a header with version and pid (0: this process), and effective, permitted and inheritable in two halves.
_CAPABILITY_HEADER = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
_NO_CAPABILITIES = (ctypes.c_uint32 * 6)()


def adopt_orphans() -> None:
    """Make orphaned descendants children of this process instead of init's."""
    _check(_prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0))


def forbid_inspection() -> None:
    """Let no process of our own account read our memory, environment and descriptors, or trace us; and dump no core.

    What is there (/proc/self, /proc/PID/stat) stays readable for us. A program that we execute is its own again.
    """
    _check(_prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def clear_ambient_capabilities() -> None:
    """Hand on no capability to what we execute, but keep them ourselves; what runs as root has its own all the same."""
    _check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))


def forbid_new_privileges() -> None:
    """Let nothing that this thread starts gain privileges by setuid programs or file capabilities, ever again."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def are_new_privileges_forbidden() -> bool:
    """Tell whether that has been done, here or by whoever started us."""
    return bool(_prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))


def drop_capabilities() -> None:
    """Give up every capability of this thread, inheritable and ambient ones too."""
    _check(_capset(_CAPABILITY_HEADER, _NO_CAPABILITIES))


def leave_session_keyring() -> None:
    """Take a new, empty session keyring: what is in the old one can be read by whoever has it, of whatever account.

    Where there are no keyrings (a kernel without, a container that forbids them) nobody can read any.
    """
    if syscalls.KEYCTL is not None and syscalls.call(syscalls.KEYCTL, _KEYCTL_JOIN_SESSION_KEYRING) < 0:
        error = ctypes.get_errno()
        if error not in (errno.ENOSYS, errno.EPERM):
            raise OSError(error, os.strerror(error))


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
