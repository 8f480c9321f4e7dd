"""Limits of a session as pure functions of time."""

from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.sessions.deadlines import Deadlines, Linger

seconds = st.integers(1, 10_000).map(float)
moments = st.integers(0, 100_000).map(float)


@given(st.none() | seconds, st.none() | seconds, moments, moments)
def test_it_is_due_exactly_from_the_time_it_said_to_ask_again(
    idle_s: float | None, lifetime_s: float | None, started: float, active: float
) -> None:
    deadlines = Deadlines(idle_s, lifetime_s, started, started + active)

    at = deadlines.next_at()

    if at is None:
        assert (idle_s, lifetime_s) == (None, None)
        assert deadlines.due(1e12) is None
    else:
        assert deadlines.due(at) in ("idle_timeout", "lifetime_exceeded")
        assert deadlines.due(at - 0.5) is None


@given(seconds, moments)
def test_activity_puts_off_idleness_but_never_the_lifetime(limit_s: float, started: float) -> None:
    idle = Deadlines(limit_s, None, started, started)
    lifetime = Deadlines(None, limit_s, started, started)

    idle.active = lifetime.active = started + limit_s

    assert idle.due(started + limit_s) is None
    assert lifetime.due(started + limit_s) == "lifetime_exceeded"


@given(seconds, moments)
def test_a_lifetime_and_an_idleness_that_end_together_are_told_as_the_lifetime(limit_s: float, started: float) -> None:
    assert Deadlines(limit_s, limit_s, started, started).due(started + limit_s) == "lifetime_exceeded"


@given(seconds, seconds, moments, st.lists(seconds, max_size=10))
def test_lingering_is_over_after_silence_or_in_all_whichever_is_first(
    silence_s: float, total_s: float, exited: float, pauses: list[float]
) -> None:
    linger = Linger(silence_s, total_s, exited, exited)

    for pause in pauses:
        linger.heard += pause
        expected = min(linger.heard + silence_s, exited + total_s)
        assert linger.next_at() == expected
        assert linger.is_over(expected)
        assert not linger.is_over(expected - 0.5)
