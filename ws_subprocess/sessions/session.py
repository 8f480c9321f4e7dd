"""A running command with its log: pumps output into the ring, wakes cursors, watches limits, and ends the whole tree.

Laws: one log, many cursors; bytes, then exit, then close (`ended` is set only after the last byte is in the ring);
reading never waits for writing; `finished` is done only when no process and no descriptor is left. Everything happens
in callbacks of one loop: there is no task per session, and on the way of a keystroke there is no queue.
"""

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from functools import partial
from typing import Protocol

from ws_subprocess.model import ExitStatus, Grant, SessionId, Size
from ws_subprocess.sessions.attachment import Attachment, Ended, SessionLimits
from ws_subprocess.sessions.deadlines import Deadlines, Linger
from ws_subprocess.sessions.replay import ReplayRing

# Pauses between looks for what SIGKILL left: the first, the longest while there is something, and the longest in vain.
_FIRST_LOOK_S, _LATER_LOOK_S, _LAST_LOOK_S = 0.005, 0.1, 0.3

log = logging.getLogger(__name__)


class Child(Protocol):
    """What a session needs of a command, wherever it runs. See `process.child.LocalChild` for what each does."""

    @property
    def pid(self) -> int: ...
    def start(self, events: "Session") -> None: ...
    def pause_output(self) -> None: ...
    def resume_output(self) -> None: ...
    def write(self, data: bytes) -> bool: ...
    def truncates(self, data: bytes) -> bool: ...
    def end_input(self) -> None: ...
    def resize(self, size: Size) -> None: ...
    def signal(self, number: int) -> bool: ...
    def hang_up(self) -> None: ...
    def has_survivors(self) -> bool: ...
    def signal_tree(self, number: int) -> None: ...
    def kill_tree(self) -> list[int]: ...
    def close(self) -> None: ...


class Session:
    """One command, its output log and its end.

    Attributes:
        ended: None until the command has exited and its last byte is in the ring.
        finished: Done when the whole tree is gone and every descriptor given back.
        reason: Error code of the limit or decision that ended it, "" when the command ended by itself.
    """

    def __init__(
        self,
        session_id: SessionId,
        grant: Grant,
        size: Size,
        child: Child,
        limits: SessionLimits,
        on_echo: Callable[[float], None],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        now = self._loop.time()
        self.id = session_id
        self.grant = grant
        self.size = size
        self.limits = limits
        self.ring = ReplayRing(limits.ring_bytes)
        self.attachments: set[Attachment] = set()
        self.ended: Ended | None = None
        self.finished: asyncio.Future[None] = self._loop.create_future()
        self.reason = ""
        self.input_bytes = 0
        self._child = child
        self._on_echo = on_echo
        self._status: ExitStatus | None = None
        self._output_ended = False
        self._paused = False
        self._typed_at = 0.0
        self._echo_rest_until = 0.0
        self._is_started = False
        self._ending_since: float | None = None
        self._killing_since: float | None = None
        # No session has more output than this, so that a limit costs one comparison, and no limit the same.
        self._max_output_bytes = grant.max_output_bytes if grant.max_output_bytes is not None else sys.maxsize
        self._deadlines = Deadlines(grant.idle_timeout_s, grant.max_lifetime_s, now, now)
        self._linger: Linger | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._ladder_timer: asyncio.TimerHandle | None = None
        self._look_timer: asyncio.TimerHandle | None = None

    @property
    def pid(self) -> int:
        """The command's process id, for logs."""
        return self._child.pid

    @property
    def is_running(self) -> bool:
        """Whether the command has not exited yet, as far as we know."""
        return self._status is None and not self.finished.done()

    def start(self) -> None:
        """Begin to pump, once. Attach first, so that the owner misses nothing."""
        if not self._is_started:
            self._is_started = True
            self._child.start(self)
            self._arm()

    def attach(self, wake: Callable[[], None], notify: Callable[[str], None], has_acks: bool) -> Attachment:
        """Return a new lossless cursor at the oldest byte of the log."""
        attachment = Attachment(self, wake, notify, has_acks)
        self.attachments.add(attachment)
        return attachment

    def write(self, data: bytes) -> bool:
        """Send input to the command; False when its queue is full."""
        now = self._loop.time()
        self._deadlines.active = now
        self.input_bytes += len(data)
        if data and not self._typed_at and now >= self._echo_rest_until:
            self._typed_at = now
        return self._child.write(data)

    def truncates(self, data: bytes) -> bool:
        """Tell whether the terminal will drop part of a line in `data`."""
        return self._child.truncates(data)

    def end_input(self) -> None:
        """Send end of file."""
        if self.is_running:
            self._child.end_input()

    def resize(self, size: Size) -> None:
        """Set the terminal's size."""
        if size != self.size and self.is_running:
            self.size = size
            self._child.resize(size)

    def signal(self, number: int) -> bool:
        """Signal the command or its foreground group; False when it is not ours to signal."""
        return not self.is_running or self._child.signal(number)

    def notify(self, code: str) -> None:
        """Tell every client something about the session."""
        for attachment in tuple(self.attachments):
            attachment.notify(code)

    def hang_up(self, reason: str) -> None:
        """End the session in order: HUP, then TERM, then KILL to the whole tree. The first reason counts."""
        if self._ending_since is None and not self.finished.done():
            self.reason = self.reason or reason
            self._ending_since = self._loop.time()
            self.start()  # A client may leave before: the exit has to be seen all the same.
            self._child.hang_up()
            self._climb_later(self.limits.term_after_s, self._terminate)
            # Nobody reads any more, but the end of the output is what tells that the terminal is free.
            self._paused = False
            self._child.resume_output()
            if self._linger is not None:
                self._linger.heard = self._ending_since
                self._arm()

    def kill(self, reason: str) -> None:
        """End the session without the lower steps: KILL to the whole tree until none is left; `finished` tells when."""
        if self.finished.done() or self._killing_since is not None:
            return
        if self.ended is None:
            self.reason = self.reason or reason
        self._ending_since = self._ending_since or self._loop.time()
        self.start()
        self._paused = False
        self._child.resume_output()
        self._climb(self._kill)

    def kill_now(self, reason: str) -> None:
        """End everything at once, without waiting for anything."""
        if not self.finished.done():
            self.reason = self.reason or reason
            self._climb(self._kill_and_finish)

    def _kill_and_finish(self) -> None:
        self._child.kill_tree()
        self._finish()

    def relax(self) -> None:
        """Let the child go on when the slowest cursor has caught up half the window, or all there is."""
        if self._paused and self._has_room() and not self._is_crowded():
            self._paused = False
            if self._linger is not None:
                self._linger.heard = self._loop.time()
                self._arm()
            if self._killing_since is not None:
                self._killing_since = self._loop.time()
                self._climb_later(_FIRST_LOOK_S, self._kill)
            self._child.resume_output()

    # What the child tells.

    def on_output(self, stream: int, data: memoryview) -> None:
        """Log a burst and wake who waits for it."""
        now = self._loop.time()
        self._deadlines.active = now
        if self._typed_at:
            self._on_echo(now - self._typed_at)
            self._typed_at = 0.0
            self._echo_rest_until = now + 0.1  # A sample now and then is enough; observing costs more than reading.
        if self._linger is not None:
            self._linger.heard = now
        if self.ring.end + len(data) > self._max_output_bytes:
            data = data[: max(0, self._max_output_bytes - self.ring.end)]
            self.hang_up("output_exceeded")
        self.ring.append(data, stream)
        for attachment in tuple(self.attachments):
            attachment.wake()
        if (
            self.attachments
            and self._ending_since is None
            and (self._lag() >= self.limits.window_bytes or self._is_crowded())
        ):
            self._paused = True
            self._child.pause_output()

    def on_output_end(self) -> None:
        """Remember that the log is complete."""
        self._output_ended = True
        self._settle()

    def on_exit(self, status: ExitStatus) -> None:
        """Keep the status back until the log is complete."""
        now = self._loop.time()
        self._status = status
        self._linger = Linger(self.limits.linger_silence_s, self.limits.linger_total_s, now, now)
        self._settle()
        self._arm()

    def on_input_room(self) -> None:
        """Wake clients that wait to type."""
        for attachment in tuple(self.attachments):
            attachment.is_input_full = False
            attachment.wake()

    def _lag(self) -> int:
        return self.ring.end - min((attachment.retained_from for attachment in self.attachments), default=self.ring.end)

    def _has_room(self) -> bool:
        lag, window = self._lag(), self.limits.window_bytes
        # A client may wait for its whole window before it acknowledges: it must be able to get so much.
        return lag <= window // 2 or (lag < window and all(a.offset == self.ring.end for a in self.attachments))

    def _is_crowded(self) -> bool:
        return any(self.ring.is_crowded(attachment.offset) for attachment in self.attachments)

    def _settle(self) -> None:
        """Publish the exit once both halves are known, then see that nothing is left."""
        if not self._output_ended or self._status is None or self.ended is not None:
            return
        self._publish()
        if self._ending_since is None:
            self._climb(self._end_survivors)
        else:
            self._look()

    def _end_survivors(self) -> None:
        """Finish, or end in order what the command left behind."""
        if not self._child.has_survivors():
            self._finish()
            return
        self._child.signal_tree(signal.SIGHUP)
        self._child.signal_tree(signal.SIGCONT)
        self._ending_since = self._loop.time()
        self._climb_later(self.limits.term_after_s, self._terminate)
        self._look()

    def _look(self, pause_s: float = _FIRST_LOOK_S) -> None:
        """Finish as soon as what was signalled has ended; the next step of the ladder may be a second away."""
        try:
            is_over = not self._child.has_survivors()
        except OSError:  # See `_climb`, which will say so if it lasts.
            is_over = False
        if is_over:
            self._finish()
        elif self._killing_since is None:
            self._look_timer = self._loop.call_later(pause_s, self._look, min(4 * pause_s, _LAST_LOOK_S))

    def _publish(self) -> None:
        """Tell clients the exit: no more output will come."""
        if self._status is None or self.ended is not None:
            return
        self.ended = Ended(self._status, self._loop.time() - self._deadlines.started, self.ring.end)
        self._linger = None
        for attachment in tuple(self.attachments):
            attachment.wake()

    # Limits.

    def _arm(self) -> None:
        """Set the one timer to the next limit, if any."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.finished.done():
            return
        times = [
            # While the child is made to wait nobody listens, so silence says nothing; `relax` arms again.
            self._linger.next_at() if self._linger is not None and not self._paused else None,
            self._deadlines.next_at() if self._ending_since is None and self.ended is None else None,
        ]
        at = min((time for time in times if time is not None), default=None)
        if at is not None:
            self._timer = self._loop.call_at(at, self._check_limits)

    def _check_limits(self) -> None:
        now = self._loop.time()
        self._timer = None
        if self._linger is not None and not self._paused and self._linger.is_over(now):
            self._linger = None
            self._ending_since = self._ending_since or now
            self._climb(self._kill)
        elif self._ending_since is None and self.ended is None and (code := self._deadlines.due(now)) is not None:
            self.hang_up(code)
        else:
            self._arm()

    # The ladder.

    def _climb_later(self, delay_s: float, step: Callable[[], None]) -> None:
        if self._ladder_timer is not None:
            self._ladder_timer.cancel()
        self._ladder_timer = self._loop.call_later(delay_s, self._climb, step)

    def _climb(self, step: Callable[[], None]) -> None:
        """Take a step of the ladder; again a little later when the machine cannot tell what processes there are."""
        try:
            step()
        except OSError as exc:  # Reading /proc takes a descriptor, and others may have them all.
            log.warning("cannot look for processes", extra={"session": self.id, "reason": exc.strerror})
            self._climb_later(_LAST_LOOK_S, step)

    def _terminate(self) -> None:
        self._child.signal_tree(signal.SIGTERM)
        self._child.signal_tree(signal.SIGCONT)
        self._climb_later(self.limits.kill_after_s - self.limits.term_after_s, self._kill)

    def _kill(self, pause_s: float = _FIRST_LOOK_S) -> None:
        """Kill until none is left: what forks between two looks is found by the next, `pause_s` later."""
        now = self._loop.time()
        self._killing_since = self._killing_since or now
        killed = self._child.kill_tree()
        if self.ended is not None and not killed:
            self._finish()
        elif not killed and self._paused and self._status is not None:
            return  # A client has yet to take what its terminal holds; `relax` goes on.
        elif now - self._killing_since > self.limits.survivors_after_s:
            log.warning("processes survive SIGKILL", extra={"session": self.id, "pids": killed})
            self._finish()
        elif not killed and self._status is not None and pause_s > _LAST_LOOK_S:
            # The end of the output would have arrived long ago, were it only for the tree.
            log.warning("terminal is held by a process of somebody else", extra={"session": self.id})
            self._finish()
        else:
            # Each look reads the whole process table: not all the time for those that nothing kills.
            self._climb_later(pause_s, partial(self._kill, min(2 * pause_s, _LATER_LOOK_S) if killed else 2 * pause_s))

    def _finish(self) -> None:
        if self.finished.done():
            return
        for timer in (self._timer, self._ladder_timer, self._look_timer):
            if timer is not None:
                timer.cancel()
        self._child.close()
        self._publish()
        self.finished.set_result(None)
        for attachment in tuple(self.attachments):
            attachment.wake()
