"""A grant's limit of output: what is within it arrives, what is beyond does not, and the session ends."""

import pytest
from fake_child import FakeChild, attach
from starting import HUP, start
from virtual_time import virtual_time

from ws_subprocess.model import STDERR, ExitStatus, Grant
from ws_subprocess.sessions.attachment import Ended
from ws_subprocess.sessions.replay import Output

LIMITED = Grant(command="/bin/true", max_output_bytes=10)


@virtual_time
async def test_the_output_up_to_the_limit_is_kept_and_the_session_hung_up() -> None:
    child = FakeChild()
    child.deadly = {HUP}
    session = start(child, LIMITED)
    cursor = attach(session)

    child.say(b"123456")
    child.say(b"7890and more")
    await session.finished

    assert session.reason == "output_exceeded"
    assert "hang up" in child.names()
    assert cursor.read(100) == Output(0, 1, b"1234567890")
    assert isinstance(session.ended, Ended)
    assert session.ended.bytes == 10


@virtual_time
async def test_output_of_just_the_limit_is_no_fault() -> None:
    child = FakeChild()
    session = start(child, LIMITED)

    child.say(b"1234567890")
    child.exit()
    child.end_output()

    assert session.reason == ""
    assert session.ended == Ended(ExitStatus(0, None), 0.0, 10)


@virtual_time
async def test_both_streams_count_together() -> None:
    child = FakeChild()
    child.deadly = {HUP}
    session = start(child, LIMITED)

    child.say(b"123456")
    child.say(b"123456", STDERR)
    await session.finished

    assert session.reason == "output_exceeded"
    assert session.ring.end == 10


@virtual_time
async def test_who_goes_on_writing_is_heard_no_more_and_killed_in_the_end() -> None:
    child = FakeChild()
    session = start(child, LIMITED)
    attach(session)

    child.say(b"x" * 11)
    child.say(b"x" * 5000)
    await session.finished

    assert session.ring.end == 10
    assert {"hang up", "tree 15", "kill"} <= set(child.names())
    assert not child.is_paused


@virtual_time
@pytest.mark.parametrize("most", [None, 5001])
async def test_without_reaching_a_limit_nothing_ends(most: int | None) -> None:
    child = FakeChild()
    session = start(child, Grant(command="/bin/true", max_output_bytes=most))

    child.say(b"x" * 5000)

    assert "hang up" not in child.names()
    session.kill_now("")
