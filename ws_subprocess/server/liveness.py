"""Watches over a peer: is it still there?

Laws:
    A peer is dead only when it showed no sign of life for the whole timeout after a ping; any byte it sent or took is
    one.
    While nothing is read from the socket nobody can hear a pong, nor an end of stream: the kernel is asked for that.
"""

import asyncio
import select
from collections.abc import Callable

HANGUP_POLL_S = 1.0


class Keepalive:
    """Pings every `interval_s`; calls `on_dead` once nothing was heard for `timeout_s` after a ping."""

    __slots__ = ("_interval_s", "_is_alive", "_loop", "_on_dead", "_ping", "_silent_since_s", "_timeout_s", "_timer")

    def __init__(
        self,
        *,
        interval_s: float,
        timeout_s: float,
        ping: Callable[[], None],
        is_alive: Callable[[], bool],
        on_dead: Callable[[], None],
    ) -> None:
        """Start.

        Args:
            is_alive: Tells whether there was a sign of life since it was last asked.
        """
        self._interval_s = interval_s
        self._timeout_s = timeout_s
        self._ping = ping
        self._is_alive = is_alive
        self._on_dead = on_dead
        self._loop = asyncio.get_running_loop()
        self._silent_since_s = self._loop.time()
        self._timer = self._loop.call_later(interval_s, self._tick, True)

    def stop(self) -> None:
        """Ping no more."""
        self._timer.cancel()

    def _tick(self, first: bool = False) -> None:
        now_s = self._loop.time()
        # Before the first ping nothing was asked of the peer.
        if self._is_alive() or first:
            self._silent_since_s = now_s
        left_s = self._silent_since_s + self._timeout_s - now_s
        if left_s <= 0:
            self._on_dead()
            return
        self._ping()
        self._timer = self._loop.call_later(min(self._interval_s, left_s), self._tick)


class Pulse:
    """Collects a peer's signs of life."""

    __slots__ = ("_drained_bytes", "_waiting_bytes", "was_heard", "written_bytes")

    def __init__(self) -> None:
        self.was_heard = False
        """Set whenever bytes arrive."""
        self.written_bytes = 0
        """All that was ever given to the transport."""
        self._waiting_bytes = 0
        self._drained_bytes = 0

    def is_felt(self, waiting_bytes: int) -> bool:
        """Tell whether the peer sent or took anything since the last call.

        Args:
            waiting_bytes: What was given to the transport and not yet taken by the kernel.
        """
        drained_bytes = self.written_bytes - waiting_bytes
        # While nothing waits the kernel takes everything, peer or no peer; what drains from a jam the peer has taken.
        took = self._waiting_bytes > 0 and drained_bytes > self._drained_bytes
        felt = self.was_heard or took
        self.was_heard = False
        self._waiting_bytes, self._drained_bytes = waiting_bytes, drained_bytes
        return felt


class HangupWatch:
    """Calls `on_hangup` when the peer ended the connection while `is_deaf()` says that nobody reads it."""

    __slots__ = ("_is_deaf", "_loop", "_on_hangup", "_poll", "_timer")

    def __init__(self, fd: int, *, is_deaf: Callable[[], bool], on_hangup: Callable[[], None]) -> None:
        self._poll = select.poll()
        self._poll.register(fd, select.POLLRDHUP)
        self._is_deaf = is_deaf
        self._on_hangup = on_hangup
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Look once a second from now on, for as long as `is_deaf()`. Idempotent."""
        if self._timer is None:
            self._timer = self._loop.call_later(HANGUP_POLL_S, self._tick)

    def stop(self) -> None:
        """Look no more. Must be called before the descriptor is closed and used for something else."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _tick(self) -> None:
        self._timer = None
        if not self._is_deaf():
            return
        # POLLHUP and POLLERR are always reported.
        if self._poll.poll(0):
            self._on_hangup()
            return
        self.start()
