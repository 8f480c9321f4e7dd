"""posix_spawn(3) from libc, with the file actions that os.posix_spawn lacks.

`addchdir_np` (glibc 2.29, musl 1.1.24) sets the working directory in the child and reports a bad one to us as an error
number; `addclosefrom_np` (glibc 2.34) closes whatever descriptor somebody left inheritable. The alternative, `env -C`
as a launcher, costs another exec (1 ms) and turns every failure to start into a started session that exits with 125 to
127.
"""

import ctypes
import os
import signal
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

# <spawn.h>, the same numbers in glibc and musl.
_SETSIGDEF = 0x04
_SETSIGMASK = 0x08
_SETSID = 0x80

# posix_spawnattr_t is 336 bytes and posix_spawn_file_actions_t 80 in glibc and musl on 64 bit; sigset_t is 128.
_OPAQUE_BYTES = 1024

_libc = ctypes.CDLL(None)


@dataclass(slots=True)
class FileActions:
    """What the child does with descriptors before exec: opens, then dups; then all from 3 up are closed.

    Attributes:
        opens: (target fd, path), opened for reading and writing.
        dups: (source fd, target fd).
    """

    opens: list[tuple[int, str]] = field(default_factory=list)
    dups: list[tuple[int, int]] = field(default_factory=list)


def spawn(path: str, argv: Sequence[str], env: Mapping[str, str], actions: FileActions, cwd: str | None) -> int:
    """Start `path` in a session of its own, with default signal handling and an empty signal mask; return its pid.

    Raises:
        OSError: From chdir, open or exec in the child; `errno` says which rule was broken, no process is left.
    """
    buffer = _build_actions(actions, cwd)
    pid = ctypes.c_int()
    try:
        error = _libc.posix_spawn(
            ctypes.byref(pid),
            os.fsencode(path),
            buffer,
            _attributes,
            string_array(os.fsencode(argument) for argument in argv),
            string_array(os.fsencode(f"{name}={value}") for name, value in env.items()),
        )
    finally:
        _libc.posix_spawn_file_actions_destroy(buffer)
    if error:
        raise OSError(error, os.strerror(error), path)
    return pid.value


def watch(pid: int) -> int:
    """Return a pidfd of a child that was just started; where there is none to be had it must not run.

    Raises:
        OSError: There are no descriptors to be had; the child is killed and reaped.
    """
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)  # It is ours and not reaped, so the number is still its own.
        os.waitpid(pid, 0)
        raise


def can_set_cwd() -> bool:
    """Tell whether this libc can start a command in another directory."""
    return hasattr(_libc, "posix_spawn_file_actions_addchdir_np")


def _build_actions(actions: FileActions, cwd: str | None) -> ctypes.Array[ctypes.c_char]:
    buffer = ctypes.create_string_buffer(_OPAQUE_BYTES)
    _check(_libc.posix_spawn_file_actions_init(buffer))
    for target, path in actions.opens:
        _check(_libc.posix_spawn_file_actions_addopen(buffer, target, os.fsencode(path), os.O_RDWR, 0))
    for source, target in actions.dups:
        _check(_libc.posix_spawn_file_actions_adddup2(buffer, source, target))
    if cwd is not None:
        _check(_libc.posix_spawn_file_actions_addchdir_np(buffer, os.fsencode(cwd)))
    if _can_close_from:
        _check(_libc.posix_spawn_file_actions_addclosefrom_np(buffer, 3))
    return buffer


def _build_attributes() -> ctypes.Array[ctypes.c_char]:
    """Build the attributes once: a new session, every signal at its default, none blocked."""
    attributes = ctypes.create_string_buffer(_OPAQUE_BYTES)
    signals = ctypes.create_string_buffer(_OPAQUE_BYTES)
    _check(_libc.posix_spawnattr_init(attributes))
    _check(_libc.sigemptyset(signals))
    _check(_libc.posix_spawnattr_setsigmask(attributes, signals))
    for number in signal.valid_signals():
        _check(_libc.sigaddset(signals, number))
    _check(_libc.posix_spawnattr_setsigdefault(attributes, signals))
    _check(_libc.posix_spawnattr_setflags(attributes, ctypes.c_short(_SETSIGDEF | _SETSIGMASK | _SETSID)))
    return attributes


def string_array(strings: Iterable[bytes]) -> "ctypes.Array[ctypes.c_char_p]":
    """Return strings as execve(2) takes them: an array with a null pointer at its end."""
    items = [*strings, None]
    return (ctypes.c_char_p * len(items))(*items)


def _check(error: int) -> None:
    if error:
        raise OSError(error, os.strerror(error))


_can_close_from = hasattr(_libc, "posix_spawn_file_actions_addclosefrom_np")
_attributes = _build_attributes()
