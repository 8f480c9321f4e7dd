"""The terminal side of a child: a pseudoterminal's master with its size, signals and special characters.

Law: nothing here waits. ptyprocess gives the object its people know (size, echo, termios); its own spawn forks, and its
read, write, close, terminate, wait and isalive block or sleep, so none of them is ever called, nor its `__del__`.
"""

import fcntl
import os
import signal
import struct
import termios

import ptyprocess

from ws_subprocess.model import Size

# Signals that the kernel's TIOCSIG sends to the foreground process group, whatever `stty isig` says (tty_ioctl(4)).
FOREGROUND_SIGNALS = frozenset({signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP})
_TIOCSIG = 0x40045436
_VEOF_DEFAULT = b"\x04"
_ICANON_INDEX, _CC_INDEX = 3, 6


class Terminal(ptyprocess.PtyProcess):  # type: ignore[misc] # ptyprocess has no types
    """`PtyProcess` over a master that we opened and a child that we started; owns neither."""

    def __init__(self, master_fd: int) -> None:
        # Not super().__init__: it wraps the descriptor in two 8 KiB buffers nobody here reads through.
        self.fd = master_fd
        self.closed = True

    def __del__(self) -> None:
        """Do nothing: the base class closes and then sleeps 0.1 s."""

    def resize(self, size: Size) -> None:
        """Set the window size; the kernel sends SIGWINCH to the foreground group when it changed."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.cols, 0, 0))

    def signal_foreground(self, number: int) -> None:
        """Send one of `FOREGROUND_SIGNALS` to the foreground process group."""
        fcntl.ioctl(self.fd, _TIOCSIG, number)

    def get_foreground_group(self) -> int | None:
        """Return the foreground process group's id, None when the terminal has none (any more)."""
        try:
            group = os.tcgetpgrp(self.fd)
        except OSError:
            return None
        return group if group > 0 else None

    def get_eof_character(self) -> bytes:
        """Return what a person types for end of file here, empty when it is disabled."""
        character = termios.tcgetattr(self.fd)[_CC_INDEX][termios.VEOF]
        if not isinstance(character, bytes):  # In raw mode the slot holds VMIN, a number.
            return _VEOF_DEFAULT
        return b"" if character == b"\x00" else character

    def is_canonical(self) -> bool:
        """Tell whether the line discipline collects lines (and drops what exceeds 4,095 bytes of one)."""
        return bool(termios.tcgetattr(self.fd)[_ICANON_INDEX] & termios.ICANON)


def open_terminal(size: Size) -> tuple[int, int, str]:
    """Open a pseudoterminal of this size; return master (non-blocking), slave, and the slave's path.

    The slave stays open until the child has opened it itself: a first read of the master would see a false end else.

    Raises:
        OSError: ENOSPC (kernel.pty.max), EMFILE, ENFILE.
    """
    master, slave = os.openpty()
    try:
        os.set_blocking(master, False)
        path = os.ttyname(slave)
        fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", size.rows, size.cols, 0, 0))
    except OSError:
        os.close(master)
        os.close(slave)
        raise
    return master, slave, path
