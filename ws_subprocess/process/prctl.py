"""prctl(2) and capset(2) from libc, which Python's own library lacks."""

import ctypes
import os

_PR_SET_CHILD_SUBREAPER = 36
_PR_SET_NO_NEW_PRIVS = 38
_PR_GET_NO_NEW_PRIVS = 39
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


def forbid_new_privileges() -> None:
    """Let nothing that this thread starts gain privileges by setuid programs or file capabilities, ever again."""
    _check(_prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))


def are_new_privileges_forbidden() -> bool:
    """Tell whether that has been done, here or by whoever started us."""
    return bool(_prctl(_PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0))


def drop_capabilities() -> None:
    """Give up every capability of this thread, inheritable and ambient ones too."""
    _check(_capset(_CAPABILITY_HEADER, _NO_CAPABILITIES))


def _check(result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
