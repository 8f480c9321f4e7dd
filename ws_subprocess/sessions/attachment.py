"""A client's cursor in a session's log."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ws_subprocess.model import ExitStatus
from ws_subprocess.sessions.replay import Gap, Output, ReplayRing


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """Bounds and patience of a session.

    Attributes:
        ring_bytes: Output kept for replay; at least twice `window_bytes`.
        window_bytes: How far a lossless cursor may lag before the child is made to wait.
        linger_silence_s, linger_total_s: How long output may go on after the command has exited.
        term_after_s, kill_after_s: When a session that was hung up gets TERM, then KILL.
        survivors_after_s: How long killing is tried before processes that live on are reported and given up.
    """

    ring_bytes: int = 1024 * 1024
    window_bytes: int = 512 * 1024
    linger_silence_s: float = 0.5
    linger_total_s: float = 2.0
    term_after_s: float = 1.0
    kill_after_s: float = 2.0
    survivors_after_s: float = 5.0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a command ended: after how many seconds, and how many bytes of output there are in all."""

    status: ExitStatus
    duration_s: float
    bytes: int


class Log(Protocol):
    """What a cursor needs of its session."""

    attachments: set["Attachment"]

    @property
    def ring(self) -> ReplayRing: ...
    @property
    def limits(self) -> SessionLimits: ...
    @property
    def ended(self) -> Ended | None: ...
    def write(self, data: bytes) -> bool: ...
    def relax(self) -> None: ...


class Attachment:
    """A client's cursor in a session's log.

    Args:
        wake: Called, from within the loop's callbacks, when there may be something new: output, exit, room for input.
        notify: Called with an error code when the client should know something about its session.
        has_acks: The client acknowledges; what it has not acknowledged counts as lag. Else what was read is done with.
    """

    __slots__ = ("_session", "acknowledged", "has_acks", "is_input_full", "notify", "offset", "wake")

    def __init__(self, session: Log, wake: Callable[[], None], notify: Callable[[str], None], has_acks: bool) -> None:
        self._session = session
        self.wake = wake
        self.notify = notify
        self.has_acks = has_acks
        self.offset = session.ring.start
        self.acknowledged = self.offset
        self.is_input_full = False

    def read(self, limit: int) -> Output | Gap | None:
        """Return what follows the cursor and move it; None at the live end, or while acknowledgements are due."""
        if self.has_acks:
            limit = min(limit, self.retained_from + self._session.limits.window_bytes - self.offset)
            if limit <= 0:
                return None
        found = self._session.ring.read(self.offset, limit)
        if isinstance(found, Output):
            self.offset += len(found.data)
        elif isinstance(found, Gap):
            self.offset = found.resume_offset
        if found is not None:
            if not self.has_acks:
                self.acknowledged = self.offset
            self._session.relax()
        return found

    def acknowledge(self, offset: int) -> bool:
        """Take all output before `offset` as dealt with; False when that is not possible."""
        if not self.acknowledged <= offset <= self.offset:
            return False
        self.acknowledged = offset
        self._session.relax()
        return True

    @property
    def retained_from(self) -> int:
        """The offset from which output counts as lag.

        While the client's messages are not read because input is full, its acknowledgements are not either: waiting for
        them would wait for ourselves. What was sent counts as dealt with then; the client's socket still bounds it.
        """
        return self.offset if self.is_input_full else self.acknowledged

    @property
    def ended(self) -> Ended | None:
        """How the command ended, once this cursor has read all there is."""
        return self._session.ended if self.offset == self._session.ring.end else None

    def write(self, data: bytes) -> bool:
        """Send input; False when no more should come until `wake` finds `is_input_full` False."""
        self.is_input_full = not self._session.write(data)
        if self.is_input_full:
            self._session.relax()
        return not self.is_input_full

    def detach(self) -> None:
        """Leave; the session goes on or not as its owner decides."""
        self._session.attachments.discard(self)
        self._session.relax()  # The child may have waited for this client alone.
