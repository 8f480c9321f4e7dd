"""System calls that libc has no function for, by number: every processor has its own ones."""

import ctypes
import os
import sys

# From the kernel's tables: clone, which in libc returns on a stack of its own, and keyctl(2).
_CLONE_NUMBERS = {"x86_64": 56, "aarch64": 220, "riscv64": 220}
_KEYCTL_NUMBERS = {"x86_64": 250, "aarch64": 219, "riscv64": 219, "ppc64le": 271, "s390x": 280}

# A 32-bit program on a 64-bit kernel has other numbers, and uname does not tell.
_MACHINE = os.uname().machine if sys.maxsize > 2**32 else ""

CLONE = _CLONE_NUMBERS.get(_MACHINE)
KEYCTL = _KEYCTL_NUMBERS.get(_MACHINE)

# PyDLL holds the interpreter's lock across the call: a forked child must not have to take it.
_syscall = ctypes.PyDLL(None, use_errno=True).syscall
_syscall.restype = ctypes.c_long
_syscall.argtypes = [ctypes.c_long] * 6


def call(number: int, first: int, second: int = 0) -> int:
    """Make a system call whose further arguments are 0; below 0 it has failed and `ctypes.get_errno` says why."""
    return int(_syscall(number, first, second, 0, 0, 0))
