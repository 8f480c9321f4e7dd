"""When not to ask somebody who does not answer: a circuit breaker. Pure: the time is an argument.

Laws: `FAILURES_MAX` failures in a row open it, and for `REST_S` nobody asks; then exactly one question is let through,
and decides; any answer closes it, also one to a question from before. A failure of a question that was asked before the
last change says nothing new.
"""

FAILURES_MAX = 5
REST_S = 5.0
# How long the question that decides will take is unknown: who comes meanwhile may look again after this.
_TRIAL_S = 1.0


class Breaker:
    """Counts how questions end. Times are seconds of one monotonic clock."""

    __slots__ = ("_changes", "_failures", "_is_trying", "_opens_at_s")

    def __init__(self) -> None:
        self._failures = 0
        # When the next question may be asked; None while it is closed.
        self._opens_at_s: float | None = None
        self._is_trying = False
        self._changes = 0

    def rest_s(self, now_s: float) -> float:
        """Return for how long no question may be asked; 0.0 when one may."""
        if self._opens_at_s is None:
            return 0.0
        return _TRIAL_S if self._is_trying else max(0.0, self._opens_at_s - now_s)

    def begin(self) -> int:
        """Count a question that may be asked; return what `note_failure` and `give_up` want to know it by."""
        if self._opens_at_s is not None:
            self._is_trying = True
            self._changes += 1
        return self._changes

    def note_answer(self) -> bool:
        """Count an answer, whatever it says; return whether this closed it."""
        was_open = self._opens_at_s is not None
        self._failures = 0
        if was_open:
            self._opens_at_s = None
            self._is_trying = False
            self._changes += 1
        return was_open

    def note_failure(self, question: int | None, now_s: float) -> bool:
        """Count a question that got no answer; return whether this opened it."""
        if question != self._changes:
            return False
        was_closed = self._opens_at_s is None
        self._failures += 1
        if was_closed and self._failures < FAILURES_MAX:
            return False
        self._opens_at_s = now_s + REST_S
        self._is_trying = False
        self._changes += 1
        return was_closed

    def give_up(self, question: int | None) -> None:
        """Forget a question that was not asked to the end: when it was to decide, the next one does."""
        if question == self._changes:
            self._is_trying = False
