"""A session's decisions: when the exit is told, when the child waits."""

import pytest
from fake_child import FakeChild, attach, build_session
from starting import start, tick
from virtual_time import now, virtual_time

from ws_subprocess.model import ExitStatus, Size
from ws_subprocess.sessions.attachment import Ended
from ws_subprocess.sessions.replay import Output

# Bytes, then exit, then close.


@virtual_time
async def test_an_exit_before_the_end_of_the_output_waits_for_it() -> None:
    child = FakeChild()
    session = start(child)

    child.exit(ExitStatus(3, None))
    child.say(b"last words")
    assert session.ended is None
    child.end_output()

    assert session.ended == Ended(ExitStatus(3, None), 0.0, 10)
    assert session.finished.done()
    assert child.is_closed


@virtual_time
async def test_an_end_of_the_output_before_the_exit_waits_for_it() -> None:
    child = FakeChild()
    session = start(child)

    child.end_output()
    assert session.ended is None
    assert session.is_running
    child.exit(ExitStatus(None, 11))

    assert session.ended == Ended(ExitStatus(None, 11), 0.0, 0)
    assert session.reason == ""


@virtual_time
async def test_a_cursor_hears_of_the_exit_only_after_the_last_byte() -> None:
    child = FakeChild()
    session = start(child)
    cursor = attach(session)
    child.say(b"abc")
    child.exit()
    child.end_output()

    before = cursor.ended
    cursor.read(3)

    assert before is None
    assert cursor.ended == Ended(ExitStatus(0, None), 0.0, 3)


@virtual_time
async def test_whoever_waits_is_woken_by_output_exit_and_end() -> None:
    child = FakeChild()
    session = start(child)
    seen: list[tuple[int, bool, bool]] = []
    attach(session, wake=lambda: seen.append((session.ring.end, session.ended is not None, session.finished.done())))

    child.say(b"abc")
    child.exit()
    child.end_output()

    assert seen == [(3, False, False), (3, True, False), (3, True, True)]


# Lingering: somebody else holds the terminal after the command has exited.


@virtual_time
async def test_a_terminal_held_in_silence_is_taken_away_after_half_a_second() -> None:
    child = FakeChild()
    session = start(child)
    child.tree = {1, 2}
    begun = now()

    child.exit()
    child.unkillable = set()
    while "kill" not in child.names():
        await tick()

    assert child.when("kill") == pytest.approx(begun + 0.5)
    assert not child.tree
    child.end_output()
    await session.finished
    assert session.reason == ""


@virtual_time
async def test_a_terminal_that_somebody_goes_on_writing_to_is_taken_away_after_two_seconds() -> None:
    child = FakeChild()
    session = start(child)
    child.tree = {1}
    begun = now()

    child.exit()
    while "kill" not in child.names():
        child.say(b"still here")
        await tick(0.3)

    assert child.when("kill") == pytest.approx(begun + 2.0)
    child.end_output()
    await session.finished


@virtual_time
async def test_silence_is_not_counted_while_the_child_is_made_to_wait() -> None:
    child = FakeChild()
    session = start(child)
    cursor = attach(session)
    child.tree = {1}
    child.say(b"x" * 1000)
    assert child.is_paused

    child.exit()
    await tick(60)
    assert "kill" not in child.names()
    cursor.read(1000)
    resumed = now()
    while "kill" not in child.names():
        await tick()

    # Two seconds in all have long gone by, so the first look after the client caught up ends it.
    assert child.when("kill") <= resumed + 0.5
    child.end_output()
    await session.finished


# Small things.


@virtual_time
async def test_a_size_that_it_has_already_is_not_set_again() -> None:
    child = FakeChild()
    session = start(child)

    session.resize(Size(24, 80))
    session.resize(Size(30, 100))
    session.resize(Size(30, 100))

    assert child.names() == ["start", "resize 30x100"]
    session.kill_now("")


@virtual_time
async def test_the_time_from_input_to_the_next_output_is_measured_now_and_then() -> None:
    echoes: list[float] = []
    child = FakeChild()
    session = build_session(child, on_echo=echoes.append)
    session.start()

    for _ in range(3):
        session.write(b"x")
        await tick(0.01)
        child.say(b"x")
    await tick(1)
    session.write(b"y")
    session.write(b"z")
    await tick(0.03)
    child.say(b"yz")
    child.say(b"more")

    assert echoes == [pytest.approx(0.01), pytest.approx(0.03)]
    session.kill_now("")


@virtual_time
async def test_input_of_no_bytes_is_no_keystroke() -> None:
    echoes: list[float] = []
    child = FakeChild()
    session = build_session(child, on_echo=echoes.append)
    session.start()

    session.write(b"")
    child.say(b"x")

    assert echoes == []
    session.kill_now("")


@virtual_time
async def test_a_second_cursor_reads_the_log_from_its_oldest_byte() -> None:
    child = FakeChild()
    session = start(child)
    attach(session).read(1)
    child.say(b"abc")

    late = attach(session)

    assert late.read(10) == Output(0, 1, b"abc")
    session.kill_now("")
