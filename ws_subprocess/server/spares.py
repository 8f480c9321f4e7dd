"""Descriptors held back, so that a few clients are heard even when the process may open no more files.

Who asks for a session then gets 503, instead of silence from a server that cannot even accept.
"""

import contextlib
import os

_SPARES = 8


class Spares:
    """A few descriptors that are of no use but to be given up."""

    def __init__(self) -> None:
        self._fds: list[int] = []
        self.refill()

    def give_up(self) -> bool:
        """Free one descriptor; tell whether there was one."""
        if not self._fds:
            return False
        os.close(self._fds.pop())
        return True

    def refill(self) -> bool:
        """Hold back again what was given up; tell whether there was room for all of it."""
        with contextlib.suppress(OSError):  # There is no more; the next call may find some.
            while len(self._fds) < _SPARES:
                self._fds.append(os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC))
        return len(self._fds) == _SPARES

    def close(self) -> None:
        """Hold back nothing more. Idempotent."""
        while self.give_up():
            pass
