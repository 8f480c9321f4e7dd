"""A child of this process: its output, input, signals and exit as events, and the end of its whole tree.

Laws: exit is told once and only as a status (a code or a signal); the child is reaped in `close`, not before, so its
pid stays its own; every descriptor is given back in `close`.
"""

import asyncio
import contextlib
import logging
import os
import select
import signal
from typing import Protocol

from ws_subprocess.model import ExitStatus, SessionId, Size
from ws_subprocess.process import tree
from ws_subprocess.process.cgroup import Cgroup
from ws_subprocess.process.streams import InputWriter, OutputReader
from ws_subprocess.process.terminal import FOREGROUND_SIGNALS
from ws_subprocess.process.wiring import Wiring

# How soon to look again when every process closed the terminal while the command itself lives on; it may open /dev/tty
# again.
_REOPEN_POLL_S = 0.1
_LINE_MAX_BYTES = 4095
# A killed process ends within microseconds, unless it sits in the kernel (state D) or was not ours to kill: a sweep
# reaps that one later. The loop stands still meanwhile, so not for long.
_REAP_WAIT_MS = 50

log = logging.getLogger(__name__)


class ChildEvents(Protocol):
    """What a child tells its session."""

    def on_output(self, stream: int, data: memoryview) -> None:
        """Give a burst of output; `data` is only valid during the call."""

    def on_output_end(self) -> None:
        """Say that the last byte of every stream was given."""

    def on_exit(self, status: ExitStatus) -> None:
        """Say how the command ended; output may still follow."""

    def on_input_room(self) -> None:
        """Say that input refused by `write` may go on."""


class Roster(Protocol):
    """Who keeps the list of living children: the spawner."""

    def is_tree_empty(self, child: "LocalChild") -> bool:
        """Tell whether nothing but the leader is left of a child whose leader has exited."""

    def strike(self, child: "LocalChild") -> None:
        """Take a closed child off the list."""


class LocalChild:
    """A command started by this process on a terminal or on three pipes.

    Attributes:
        pid: The command's process, also its process group and session.
        session: Id of the session that it serves.
        cgroup: The control group that holds its tree, if it has one; the roster's to remove.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        roster: Roster,
        session: SessionId,
        pid: int,
        pidfd: int,
        wiring: Wiring,
        input_limit_bytes: int,
        scratch: memoryview,
        cgroup: Cgroup | None = None,
    ) -> None:
        self.pid = pid
        self.cgroup = cgroup
        self._loop = loop
        self._roster = roster
        self.session = session
        self._pidfd = pidfd
        self._channels = wiring.channels
        self._terminal = wiring.terminal
        self._events: ChildEvents | None = None
        self._status: ExitStatus | None = None
        self._is_paused = False
        self._line_bytes = 0
        self._reopen_timer: asyncio.TimerHandle | None = None
        self._input = InputWriter(loop, wiring.input_fd, input_limit_bytes, self._tell_room, self._close_stdin)
        self._fds = {wiring.input_fd, *wiring.output_fds.values()}
        self._readers = [
            OutputReader(loop, fd, stream, scratch, self._tell_output, self._see_stream_end)
            for stream, fd in wiring.output_fds.items()
        ]

    def start(self, events: ChildEvents) -> None:
        """Tell everything to `events` from now on."""
        self._events = events
        self._loop.add_reader(self._pidfd, self._collect_status)
        self.resume_output()

    def pause_output(self) -> None:
        """Stop reading: the child waits once its terminal or pipe is full."""
        self._is_paused = True
        for reader in self._readers:
            reader.pause()

    def resume_output(self) -> None:
        """Read again."""
        self._is_paused = False
        for reader in self._readers:
            reader.resume()

    def write(self, data: bytes) -> bool:
        """Queue input; return whether more may come, else `on_input_room` tells when."""
        return self._input.write(data)

    def truncates(self, data: bytes) -> bool:
        """Tell, once, whether the terminal will silently drop part of a line that `data` goes on with.

        N_TTY keeps 4,095 bytes of a line in canonical mode, whatever was typed (termios(3)).
        """
        if self._terminal is None:
            return False
        lengths = [len(line) for line in data.replace(b"\r", b"\n").split(b"\n")]
        lengths[0] += self._line_bytes
        self._line_bytes = lengths[-1]
        if max(lengths) <= _LINE_MAX_BYTES:
            return False
        # What was told is not told again with every key; what an editor took key by key was no line at all.
        self._line_bytes = 0
        return self._status is None and self._terminal.is_canonical()

    def end_input(self) -> None:
        """Give the child its end of file, after the input before it: a terminal's VEOF character, a pipe's close."""
        if self._terminal is not None:
            self._input.write(self._terminal.get_eof_character())
        else:
            self._input.end()

    def resize(self, size: Size) -> None:
        """Set the terminal's size; without a terminal there is nothing to size."""
        if self._terminal is not None:
            self._terminal.resize(size)

    def signal(self, number: int) -> bool:
        """Signal the foreground group (INT, QUIT, TSTP on a terminal) or the command itself.

        Returns:
            False when that is not ours to signal: a setuid program that became somebody else.
        """
        if self._status is not None:
            return True
        if self._terminal is not None and number in FOREGROUND_SIGNALS:
            self._terminal.signal_foreground(number)
        else:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:  # Somebody else has reaped it; see `_collect_status`.
                return True
            except PermissionError:
                return False
        return True

    def hang_up(self) -> None:
        """Do what a closed terminal does: HUP and CONT to the foreground group and to the command."""
        groups = {self.pid}
        if (
            self._terminal is not None
            and (group := self._terminal.get_foreground_group())
            and _is_in_session(group, self.pid)
        ):
            groups.add(group)
        for group in groups:
            for number in (signal.SIGHUP, signal.SIGCONT):
                _signal_group(group, number)

    def has_survivors(self) -> bool:
        """Tell whether anything of the tree lives on, after the command has exited."""
        return not self._roster.is_tree_empty(self)

    def find_members(self) -> list[tree.ProcessRow]:
        """Return every living process of the tree."""
        grouped = self.cgroup.list_pids() if self.cgroup is not None else frozenset[int]()
        return tree.find_members(self.pid, self.session, self._channels, grouped)

    def signal_tree(self, number: int) -> None:
        """Signal every process of the tree."""
        tree.send_signal(self.find_members(), number)

    def kill_tree(self) -> list[int]:
        """Kill what is there of the tree; return the pids, empty when there was nothing left to kill."""
        members = self.find_members()
        if self.cgroup is not None:
            self.cgroup.kill()
        tree.stop_and_kill(members)
        return [row.pid for row in members]

    def close(self) -> None:
        """Give back every descriptor and reap the command, which must have exited or been killed."""
        if self._reopen_timer is not None:
            self._reopen_timer.cancel()
        for reader in self._readers:
            reader.finish()
        self._input.close()
        for fd in self._fds:
            os.close(fd)
        self._fds.clear()
        self._terminal = None  # Its number may be another child's from now on.
        if self._status is None:
            self._loop.remove_reader(self._pidfd)
        poll = select.poll()
        poll.register(self._pidfd, select.POLLIN)
        if poll.poll(_REAP_WAIT_MS):
            with contextlib.suppress(ChildProcessError):  # Somebody else has reaped it; see `_collect_status`.
                os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED)
        else:
            log.warning("killed command does not end", extra={"session": self.session, "pid": self.pid})
        os.close(self._pidfd)
        self._roster.strike(self)

    def _collect_status(self) -> None:
        # WNOWAIT leaves the zombie: nobody can get its pid before `close`.
        try:
            result = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            log.error("exit status lost: this process ignores SIGCHLD or reaps all", extra={"session": self.session})
            self._status = ExitStatus(None, None)
        else:
            if result is None:
                return
            exited = result.si_code == os.CLD_EXITED
            self._status = ExitStatus(result.si_status if exited else None, None if exited else result.si_status)
        self._loop.remove_reader(self._pidfd)
        if self._reopen_timer is not None:
            self._reopen_timer.cancel()
            self._reopen()
        if self._events is not None:
            self._events.on_exit(self._status)

    def _tell_output(self, stream: int, data: memoryview) -> None:
        if self._events is not None:
            self._events.on_output(stream, data)

    def _tell_room(self) -> None:
        if self._events is not None:
            self._events.on_input_room()

    def _see_stream_end(self, reader: OutputReader) -> None:
        if self._terminal is not None and self._status is None:
            if self._reopen_timer is None:
                self._reopen_timer = self._loop.call_later(_REOPEN_POLL_S, self._reopen)
            return
        reader.finish()
        if self._events is not None and all(reader.is_done for reader in self._readers):
            self._events.on_output_end()

    def _reopen(self) -> None:
        self._reopen_timer = None
        if not self._is_paused:  # Else the session resumes when its clients have caught up.
            self.resume_output()

    def _close_stdin(self) -> None:
        self._input.close()
        self._fds.discard(self._input.fd)
        os.close(self._input.fd)


def _is_in_session(pid: int, session: int) -> bool:
    try:
        return os.getsid(pid) == session
    except ProcessLookupError:
        return False


def _signal_group(group: int, number: int) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):
        return
