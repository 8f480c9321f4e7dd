"""A client's cursor: what it may read, what it must acknowledge first."""

import pytest
from fake_child import FakeChild, attach, build_session
from hypothesis import example, given, settings
from hypothesis import strategies as st
from virtual_time import virtual_time

from ws_subprocess.model import STDERR, STDOUT
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.replay import Gap, Output

LIMITS = SessionLimits(ring_bytes=2000, window_bytes=1000)


@given(st.lists(st.tuples(st.integers(1, 400), st.integers(1, 300), st.integers(0, 400)), max_size=40))
@settings(deadline=None)
@virtual_time
async def test_never_is_more_than_the_window_sent_beyond_the_acknowledgement(steps: list[tuple[int, int, int]]) -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session, has_acks=True)
    session.start()
    received = 0

    for size, limit, acknowledged in steps:
        if not child.is_paused:
            child.say(b"x" * size)
        while isinstance(found := cursor.read(limit), Output):
            assert found.offset == received
            received += len(found.data)
        assert found is None, "a lossless cursor never sees a gap"
        assert received <= cursor.acknowledged + LIMITS.window_bytes
        assert cursor.acknowledge(min(received, cursor.acknowledged + acknowledged))

    while received < session.ring.end:
        assert cursor.acknowledge(received)
        found = cursor.read(10_000)
        assert isinstance(found, Output)
        received += len(found.data)


@virtual_time
async def test_a_full_window_is_opened_by_the_acknowledgement_and_no_sooner() -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session, has_acks=True)
    session.start()
    child.say(b"x" * 1400)

    first, second = cursor.read(5000), cursor.read(5000)

    assert isinstance(first, Output)
    assert len(first.data) == 1000
    assert second is None
    assert cursor.acknowledge(1)
    assert cursor.read(5000) == Output(1000, STDOUT, b"x")


@pytest.mark.parametrize("offset", [-1, 99, 301])
@virtual_time
async def test_an_acknowledgement_of_less_than_before_or_more_than_sent_changes_nothing(offset: int) -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session, has_acks=True)
    session.start()
    child.say(b"x" * 400)
    cursor.read(300)
    cursor.acknowledge(100)

    assert not cursor.acknowledge(offset)
    assert cursor.acknowledged == 100


@virtual_time
async def test_without_acknowledgements_what_was_read_is_done_with() -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session)
    session.start()
    child.say(b"x" * 900)

    found = cursor.read(900)

    assert isinstance(found, Output)
    assert cursor.acknowledged == 900


@virtual_time
async def test_a_child_stopped_for_a_slow_cursor_goes_on_when_half_the_window_is_caught_up() -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session)
    session.start()
    child.say(b"x" * 999)
    assert not child.is_paused
    child.say(b"x")
    assert child.is_paused

    cursor.read(499)
    paused_above_half = child.is_paused
    cursor.read(1)

    assert paused_above_half
    assert not child.is_paused


@given(st.integers(1, 1000), st.lists(st.integers(1, 900), min_size=1, max_size=20))
@example(1000, [900])
@virtual_time
async def test_a_client_that_acknowledges_once_per_window_or_more_often_gets_everything(
    step: int, bursts: list[int]
) -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session, has_acks=True)
    session.start()

    for size in bursts * 5:
        assert not child.is_paused
        child.say(b"x" * size)
        while isinstance(cursor.read(10_000), Output):
            if cursor.offset - cursor.acknowledged >= step:
                cursor.acknowledge(cursor.offset)

    assert cursor.offset == session.ring.end


@virtual_time
async def test_the_slowest_of_several_cursors_counts() -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    fast, slow = attach(session), attach(session)
    session.start()

    child.say(b"x" * 1000)
    fast.read(1000)

    assert child.is_paused
    slow.read(1000)
    assert not child.is_paused


@virtual_time
async def test_streams_that_change_with_every_byte_stop_the_child_until_its_client_has_read() -> None:
    """A client acknowledges every 128 KiB: a child stopped for crowding, far below that, must not wait for it."""
    child = FakeChild()
    session = build_session(child)
    cursor = attach(session, has_acks=True)
    session.start()
    written = 0
    while not child.is_paused:
        child.say(b"x", (STDOUT, STDERR)[written % 2])
        written += 1
    assert written < 4096

    while isinstance(cursor.read(100), Output):
        pass

    assert cursor.offset == written
    assert not child.is_paused


@virtual_time
async def test_what_left_the_ring_is_told_as_a_gap_once() -> None:
    """A session that is ended goes on reading without waiting for anybody."""
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session)
    session.start()
    session.hang_up("lifetime_exceeded")
    for _ in range(3):
        child.say(b"x" * 900)

    assert cursor.read(100) == Gap(700, 700)
    assert cursor.read(100) == Output(700, STDOUT, b"x" * 100)
    session.kill_now("")


@virtual_time
async def test_input_that_fills_the_queue_is_marked_until_there_is_room() -> None:
    woken: list[bool] = []
    child = FakeChild()
    session = build_session(child)
    cursor = attach(session, wake=lambda: woken.append(cursor.is_input_full))
    session.start()
    child.room = False

    assert not cursor.write(b"abc")
    assert cursor.is_input_full
    session.on_input_room()

    assert woken == [False]
    assert child.written == b"abc"


@virtual_time
async def test_a_cursor_that_left_holds_nobody_up() -> None:
    child = FakeChild()
    session = build_session(child, LIMITS)
    cursor = attach(session)
    session.start()
    cursor.detach()

    child.say(b"x" * 5000)

    assert not child.is_paused
