"""Places: how many sessions may live, and when none is left."""

import asyncio

import pytest
from fake_child import FakeChild, build_session
from virtual_time import virtual_time

from ws_subprocess.errors import CapacityError
from ws_subprocess.sessions.registry import SessionRegistry


def test_no_more_places_are_given_than_there_are() -> None:
    registry = SessionRegistry(2)

    with registry.place("a"), registry.place("a"):
        with pytest.raises(CapacityError) as caught, registry.place("a"):
            pass
        assert caught.value.code == "too_many_sessions"
        assert caught.value.retry_after_s

    registry.check_room("a")


def test_an_address_has_no_more_than_its_share() -> None:
    registry = SessionRegistry(9, max_per_address=2)

    with registry.place("a"), registry.place("a"), registry.place("b"):
        with pytest.raises(CapacityError) as caught, registry.place("a"):
            pass
        assert caught.value.code == "too_many_sessions_user"
        assert caught.value.retry_after_s
        assert "max_sessions_per_address: 2" in caught.value.detail

    registry.check_room("a")


def test_a_principal_has_no_more_than_its_share() -> None:
    registry = SessionRegistry(9, max_per_principal=1)

    with registry.hold("lab"), registry.hold("other"):
        with pytest.raises(CapacityError) as caught, registry.hold("lab"):
            pass
        assert caught.value.code == "too_many_sessions_user"

    with registry.hold("lab"), pytest.raises(CapacityError), registry.hold("lab"):
        pass
    assert not registry._principals._counts, "who has no session is not remembered"


def test_who_has_no_name_shares_with_nobody() -> None:
    registry = SessionRegistry(9, max_per_principal=1)

    with registry.hold(""), registry.hold(""):
        pass


def test_a_place_is_free_again_whatever_happened_in_it() -> None:
    registry = SessionRegistry(1)

    with pytest.raises(ZeroDivisionError), registry.place("a"):
        raise ZeroDivisionError

    registry.check_room("a")


def test_while_draining_there_is_no_room_however_empty_it_is() -> None:
    registry = SessionRegistry(5)
    registry.begin_drain()

    with pytest.raises(CapacityError) as caught:
        registry.check_room("a")

    assert caught.value.code == "draining"
    assert caught.value.retry_after_s


@virtual_time
async def test_it_is_empty_only_when_the_last_place_is_given_back() -> None:
    registry = SessionRegistry(5)
    waiter = asyncio.ensure_future(registry.wait_empty())
    with registry.place("a"):
        with registry.place("a"):
            waiting = asyncio.ensure_future(registry.wait_empty())
            await asyncio.sleep(1)
        await asyncio.sleep(1)
        assert not waiting.done()

    await asyncio.gather(waiter, waiting)


@virtual_time
async def test_a_session_is_known_until_it_has_finished_and_listeners_hear_of_it() -> None:
    registry = SessionRegistry(5)
    session = build_session(FakeChild())
    ended: list[object] = []
    registry.on_end(ended.append)
    registry.add(session)
    session.start()

    before = list(registry)
    session.kill_now("draining")
    await asyncio.sleep(0)

    assert before == [session]
    assert list(registry) == []
    assert len(registry) == 0
    assert ended == [session]


@virtual_time
async def test_ending_all_ends_all_and_killing_all_kills_at_once() -> None:
    registry = SessionRegistry(5)
    children = [FakeChild(), FakeChild()]
    for child in children:
        session = build_session(child)
        registry.add(session)
        session.start()

    registry.hang_up_all("draining")
    names = [child.names() for child in children]
    registry.kill_all("draining")

    assert names == [["start", "hang up", "resume"]] * 2
    assert all(child.is_closed for child in children)


@virtual_time
async def test_clients_are_told_once_that_the_daemon_is_draining() -> None:
    registry = SessionRegistry(5)
    session = build_session(FakeChild())
    told: list[str] = []
    session.attach(lambda: None, told.append, has_acks=False)
    registry.add(session)

    registry.begin_drain()
    registry.begin_drain()

    assert told == ["draining"]
    session.kill_now("")
