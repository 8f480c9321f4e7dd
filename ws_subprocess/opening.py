"""Opening files that somebody else has named: they may be anything."""

import os


def open_at_once(path: str, flags: int) -> int:
    """Return a descriptor, as an `opener` of `open` does: of a FIFO too, without waiting until somebody writes to it.

    Raises:
        OSError: It cannot be opened.
    """
    return os.open(path, flags | os.O_NONBLOCK | os.O_CLOEXEC)
