"""How a session ends: signals in their order, survivors, limits."""

import asyncio
import errno

import pytest
from fake_child import FakeChild, attach
from starting import HUP, TERM, start, tick
from virtual_time import now, virtual_time

from ws_subprocess.model import ExitStatus, Grant, Size

# The ladder.


@virtual_time
async def test_hanging_up_climbs_from_hup_over_term_to_kill() -> None:
    child = FakeChild()
    session = start(child)
    begun = now()

    session.hang_up("client_gone")
    await session.finished

    assert child.when("hang up") == begun
    assert child.when(f"tree {TERM}") == pytest.approx(begun + 1.0)
    assert child.when("kill") == pytest.approx(begun + 2.0)
    assert child.names()[-1] == "close"
    assert session.ended is not None
    assert session.ended.status == ExitStatus(None, 9)


@virtual_time
async def test_who_ends_by_hup_is_not_signalled_again() -> None:
    child = FakeChild()
    child.deadly = {HUP}
    session = start(child)

    session.hang_up("client_gone")
    await session.finished

    assert child.names() == ["start", "hang up", "resume", "close"]


@virtual_time
async def test_survivors_of_a_command_that_has_exited_are_hung_up_then_terminated() -> None:
    child = FakeChild()
    child.deadly = {TERM}
    session = start(child)
    child.tree = {1, 2, 3}
    begun = now()

    child.exit()
    child.end_output()
    assert session.ended is not None, "the client need not wait for them"
    await session.finished

    assert child.when(f"tree {HUP}") == begun
    assert child.when(f"tree {TERM}") == pytest.approx(begun + 1.0)


@virtual_time
@pytest.mark.parametrize("is_hung_up", [False, True])
async def test_survivors_that_the_first_signal_ends_are_not_waited_for_until_the_next(is_hung_up: bool) -> None:
    child = FakeChild()
    session = start(child)
    child.tree = {1}
    begun = now()

    if is_hung_up:
        session.hang_up("cancelled")
    child.exit(ExitStatus(None, HUP))
    child.end_output()
    asyncio.get_running_loop().call_later(0.02, child.tree.clear)
    await session.finished

    assert now() <= begun + 0.1
    assert f"tree {TERM}" not in child.names()


@virtual_time
async def test_processes_that_survive_everything_are_given_up_and_reported(caplog: pytest.LogCaptureFixture) -> None:
    child = FakeChild()
    child.tree = child.unkillable = {99}
    session = start(child)
    begun = now()

    session.hang_up("client_gone")
    await session.finished

    assert begun + 7.0 <= now() <= begun + 8.0
    assert [(record.message, record.__dict__["pids"]) for record in caplog.records] == [
        ("processes survive SIGKILL", [99])
    ]
    assert child.is_closed


@virtual_time
async def test_looking_for_survivors_does_not_keep_the_machine_busy() -> None:
    """Each look reads the whole process table."""
    child = FakeChild()
    child.tree = child.unkillable = {99}
    session = start(child)

    session.hang_up("client_gone")
    await session.finished

    assert child.names().count("kill") < 100


@virtual_time
async def test_a_terminal_that_a_stranger_holds_does_not_hold_the_session(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing of the tree is left, and still the output does not end: the session must."""
    child = FakeChild()
    session = start(child)
    cursor = attach(session)
    begun = now()
    child.say(b"abc")
    cursor.read(3)

    child.exit(ExitStatus(5, None))
    await session.finished

    assert now() <= begun + 8.0
    assert child.is_closed
    assert cursor.ended is not None
    assert cursor.ended.status == ExitStatus(5, None)
    assert [record.message for record in caplog.records] == ["terminal is held by a process of somebody else"]


@virtual_time
async def test_killing_takes_no_lower_step_and_goes_on_until_nothing_is_left() -> None:
    child = FakeChild()
    session = start(child)
    begun = now()

    session.kill("timed_out")
    session.kill("client_gone")
    await session.finished

    assert child.when("kill") == begun
    assert "hang up" not in child.names()
    assert session.ended is not None
    assert (session.ended.status, session.reason) == (ExitStatus(None, 9), "timed_out")


@virtual_time
async def test_killing_cuts_the_ladder_short() -> None:
    child = FakeChild()
    session = start(child)
    session.hang_up("client_gone")
    begun = now()

    session.kill("timed_out")
    await session.finished

    assert child.when("kill") == begun
    assert session.reason == "client_gone"


@virtual_time
async def test_killing_now_waits_for_nothing() -> None:
    child = FakeChild()
    session = start(child)
    woken: list[bool] = []
    attach(session, wake=lambda: woken.append(session.finished.done()))

    session.kill_now("draining")

    assert child.names() == ["start", "kill", "close"]
    assert session.finished.done()
    assert session.reason == "draining"
    assert woken == [True]


@virtual_time
async def test_a_session_that_has_finished_touches_its_child_no_more() -> None:
    child = FakeChild()
    session = start(child)
    session.kill_now("draining")
    before = list(child.names())

    session.resize(Size(1, 1))
    session.signal(TERM)
    session.end_input()
    session.hang_up("client_gone")
    session.kill_now("again")

    assert child.names() == before
    assert not session.is_running


@virtual_time
async def test_the_first_reason_counts() -> None:
    child = FakeChild()
    session = start(child)

    session.hang_up("idle_timeout")
    session.hang_up("client_gone")
    session.kill_now("draining")

    assert session.reason == "idle_timeout"


@virtual_time
async def test_hanging_up_reads_on_what_a_slow_client_held_back() -> None:
    child = FakeChild()
    session = start(child)
    attach(session)
    child.say(b"x" * 1000)
    assert child.is_paused

    session.hang_up("client_gone")

    assert not child.is_paused
    child.say(b"x" * 5000)
    assert not child.is_paused
    session.kill_now("")


# Limits.


@virtual_time
async def test_a_session_without_input_and_output_for_its_idle_time_is_ended() -> None:
    child = FakeChild()
    child.deadly = {HUP}
    session = start(child, Grant(command="/bin/true", idle_timeout_s=10))
    begun = now()

    await tick(6)
    session.write(b"x")
    await tick(6)
    child.say(b"x")
    await session.finished

    assert child.when("hang up") == pytest.approx(begun + 22)
    assert session.reason == "idle_timeout"


@virtual_time
async def test_a_session_that_has_lived_its_time_is_ended_however_busy_it_is() -> None:
    child = FakeChild()
    child.deadly = {HUP}
    session = start(child, Grant(command="/bin/true", idle_timeout_s=10, max_lifetime_s=25))
    begun = now()

    while not session.finished.done():
        if child.is_alive:
            child.say(b"x")
        await tick(3)

    assert child.when("hang up") == pytest.approx(begun + 25)
    assert session.reason == "lifetime_exceeded"


@virtual_time
async def test_a_limit_that_passes_while_the_tree_is_being_ended_does_not_make_the_loop_spin() -> None:
    child = FakeChild()
    session = start(child, Grant(command="/bin/true", idle_timeout_s=0.5, max_lifetime_s=1))

    session.hang_up("client_gone")
    await session.finished

    assert session.reason == "client_gone"


@virtual_time
async def test_a_limit_that_passes_after_the_command_has_exited_does_not_make_the_loop_spin() -> None:
    child = FakeChild()
    child.deadly = {TERM}
    session = start(child, Grant(command="/bin/true", idle_timeout_s=0.5, max_lifetime_s=0.7))
    child.tree = {1}

    child.exit()
    child.end_output()
    await session.finished

    assert session.reason == ""


@virtual_time
async def test_a_client_that_acknowledges_nothing_cannot_keep_an_exited_command_beyond_its_lifetime() -> None:
    child = FakeChild()
    session = start(child, Grant(command="/bin/true", max_lifetime_s=60))
    attach(session, has_acks=True)
    child.tree = {1}
    child.say(b"x" * 1000)
    assert child.is_paused
    begun = now()

    child.exit()
    await tick(59)
    assert "hang up" not in child.names()
    await tick(2)
    child.end_output()
    await session.finished

    assert child.when("hang up") == pytest.approx(begun + 60)
    assert session.reason == "lifetime_exceeded"


@virtual_time
async def test_without_limits_a_session_lives_for_days() -> None:
    child = FakeChild()
    session = start(child)

    await tick(10 * 86_400)

    assert session.is_running
    session.kill_now("")


class BlindChild(FakeChild):
    """On a machine without descriptors: the first looks for its processes fail."""

    looks_in_vain = 3

    def has_survivors(self) -> bool:
        self._look()
        return super().has_survivors()

    def signal_tree(self, number: int) -> None:
        self._look()
        super().signal_tree(number)

    def kill_tree(self) -> list[int]:
        self._look()
        return super().kill_tree()

    def _look(self) -> None:
        if self.looks_in_vain:
            self.looks_in_vain -= 1
            raise OSError(errno.EMFILE, "Too many open files")


@virtual_time
async def test_a_session_ends_once_the_machine_can_tell_its_processes_again() -> None:
    child = BlindChild()
    session = start(child)

    child.exit()
    child.end_output()
    await session.finished

    assert child.names()[-1] == "close"


@virtual_time
async def test_a_hang_up_climbs_on_once_the_machine_can_tell_its_processes_again() -> None:
    child = BlindChild()
    session = start(child)

    session.hang_up("client_gone")
    await session.finished

    assert child.names()[-1] == "close"
