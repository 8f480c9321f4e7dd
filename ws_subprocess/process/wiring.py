"""The descriptors between a child and us: one terminal, or three pipes."""

import os
from dataclasses import dataclass

from ws_subprocess.model import STDERR, STDOUT, Size
from ws_subprocess.process.posix_spawn import FileActions
from ws_subprocess.process.terminal import Terminal, open_terminal


@dataclass(frozen=True, slots=True)
class Wiring:
    """What a child gets, what we keep, and what we close once it runs.

    Attributes:
        actions: How the child puts its ends on 0, 1 and 2.
        input_fd: Our end of its stdin.
        output_fds: Our end of each of its output streams.
        childs_fds: Its ends, open in us until it has been started.
        channels: Its ends as `/proc/PID/fd` names them.
    """

    actions: FileActions
    input_fd: int
    output_fds: dict[int, int]
    childs_fds: tuple[int, ...]
    channels: frozenset[str]
    terminal: Terminal | None

    def give_to(self, uid: int, gid: int, terminal_gid: int | None) -> None:
        """Let another account open its ends again, by /dev/tty, /dev/stderr or /proc/self/fd.

        A terminal belongs to the group of terminals (`terminal_gid`), whose programs may write to it, and no other.

        Raises:
            OSError: We are not root enough.
        """
        for fd in self.childs_fds:
            if self.terminal is None:
                os.fchown(fd, uid, gid)
            else:
                os.fchown(fd, uid, gid if terminal_gid is None else terminal_gid)
                os.fchmod(fd, 0o600 if terminal_gid is None else 0o620)

    def close_childs(self) -> None:
        """Close the child's ends: it has its own now, or will never have."""
        for fd in self.childs_fds:
            os.close(fd)

    def close_ours(self) -> None:
        """Close our ends."""
        for fd in {self.input_fd, *self.output_fds.values()}:
            os.close(fd)


def wire_terminal(size: Size) -> Wiring:
    """Open a terminal of this size.

    Raises:
        OSError: There is none to be had.
    """
    master, slave, path = open_terminal(size)
    # Opened by the child after setsid, the terminal becomes its controlling one (no O_NOCTTY).
    actions = FileActions(opens=[(0, path)], dups=[(0, 1), (0, 2)])
    return Wiring(actions, master, {STDOUT: master}, (slave,), frozenset({path}), Terminal(master))


def wire_pipes() -> Wiring:
    """Open three pipes, our ends non-blocking.

    Raises:
        OSError: There are no descriptors to be had.
    """
    fds: list[int] = []
    try:
        for _ in range(3):
            fds += os.pipe()
    except OSError:
        for fd in fds:
            os.close(fd)
        raise
    stdin, our_stdin, our_stdout, stdout, our_stderr, stderr = fds
    for fd in (our_stdin, our_stdout, our_stderr):
        os.set_blocking(fd, False)
    actions = FileActions(dups=[(stdin, 0), (stdout, 1), (stderr, 2)])
    childs_fds = (stdin, stdout, stderr)
    channels = frozenset(f"pipe:[{os.fstat(fd).st_ino}]" for fd in childs_fds)
    return Wiring(actions, our_stdin, {STDOUT: our_stdout, STDERR: our_stderr}, childs_fds, channels, None)
