"""When a session has been idle or alive for too long. Pure: time is an argument, in seconds of one monotonic clock."""

from dataclasses import dataclass


@dataclass(slots=True)
class Deadlines:
    """The two clocks of a session; activity only moves a number, nothing is re-armed per keystroke.

    Attributes:
        idle_timeout_s, max_lifetime_s: None for no limit.
        started, active: When the session began, and when it last had input or output.
    """

    idle_timeout_s: float | None
    max_lifetime_s: float | None
    started: float
    active: float

    def next_at(self) -> float | None:
        """Return when `due` is worth asking again, None for never."""
        times = []
        if self.idle_timeout_s is not None:
            times.append(self.active + self.idle_timeout_s)
        if self.max_lifetime_s is not None:
            times.append(self.started + self.max_lifetime_s)
        return min(times, default=None)

    def due(self, now: float) -> str | None:
        """Return the error code of the limit that has been reached, else None."""
        if self.max_lifetime_s is not None and now >= self.started + self.max_lifetime_s:
            return "lifetime_exceeded"
        if self.idle_timeout_s is not None and now >= self.active + self.idle_timeout_s:
            return "idle_timeout"
        return None


@dataclass(slots=True)
class Linger:
    """How long output may go on after the command has exited, while somebody else holds its terminal.

    Silence only counts while we listen: a paused reader hears nothing.
    """

    silence_s: float
    total_s: float
    exited: float
    heard: float

    def next_at(self) -> float:
        """Return when the wait is over if nothing more is heard."""
        return min(self.heard + self.silence_s, self.exited + self.total_s)

    def is_over(self, now: float) -> bool:
        """Tell whether it has been silent, or going on, for too long."""
        return now >= self.next_at()
