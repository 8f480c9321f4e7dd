"""Who has to go when too many wait: by the numbers, and whoever is chosen. No sockets here; see test_crowds."""

import itertools
import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.server.waiting import WaitingRoom


def fill(room, names, address=None):
    """Let all in; return who had to leave, in order."""
    return [gone for gone in (room.enter(name, address) for name in names) if gone is not None]


def build_room(most=10, most_per_address=10, seed=1):
    return WaitingRoom(most, most_per_address, random.Random(seed))


def test_nobody_leaves_a_room_that_is_not_yet_60_percent_full():
    assert fill(build_room(10), range(6)) == []


def test_somebody_leaves_now_and_then_before_the_room_is_full():
    left = Counter(bool(fill(build_room(10, seed=seed), range(9))) for seed in range(200))

    assert left[True] > 50
    assert left[False] > 10


def test_the_fuller_the_room_the_more_often_somebody_leaves():
    def count_left(size):
        """Let one more into each of 1000 rooms for 100 with `size` in them; return for how many somebody left."""
        gone = 0
        for seed in range(1000):
            room, names = build_room(100, seed=seed), itertools.count()
            while len(room) < size:
                room.enter(next(names), None)
            gone += room.enter("newcomer", None) is not None
        return gone

    assert 0 < count_left(65) < count_left(80) < count_left(95) < 1000
    assert count_left(100) == 1000


@pytest.mark.parametrize("most", [1, 2, 16, 1000])
def test_there_are_never_more_than_the_limit(most):
    room = build_room(most)

    for number in range(3 * most):
        room.enter(number, None)
        assert len(room) <= most


def test_a_newcomer_is_never_the_one_who_leaves():
    room = build_room(1)

    assert fill(room, range(5)) == [0, 1, 2, 3]


def test_a_crowd_of_one_address_costs_only_its_own_places():
    room = build_room(1000, most_per_address=5)
    fill(room, ["stranger"], "10.0.0.2")

    gone = fill(room, range(100), "10.0.0.1")

    assert len(gone) >= 95
    assert "stranger" not in gone


def test_without_an_address_only_the_limit_in_all_counts():
    assert fill(build_room(1000, most_per_address=1), range(500)) == []


def test_everybody_is_met_by_chance_equally_often():
    met = Counter()
    for seed in range(4000):
        dice = random.Random(seed)
        room = WaitingRoom(4, 4, dice)
        gone = fill(room, "abcde")
        met[gone[-1]] += 1

    assert set(met) <= set("abcd")
    assert max(met.values()) < 2 * min(met.values())


def test_who_has_left_leaves_room_and_may_come_back():
    room = build_room(2)
    for _ in range(100):
        assert room.enter("a", "x") is None
        room.leave("a")
        room.leave("a")

    assert len(room) == 0


def test_somebody_can_be_made_to_leave_whatever_the_limits():
    room = build_room(1000)
    fill(room, "abc", "x")

    assert {room.expel(), room.expel(), room.expel()} == set("abc")
    assert room.expel() is None
    assert len(room) == 0


def test_entering_twice_is_entering_once():
    room = build_room(1)

    assert fill(room, ["a", "a", "a"]) == []
    assert len(room) == 1


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 30), st.sampled_from([None, "x", "y"])), max_size=300))
def test_the_books_are_right_whatever_happens(steps):
    room, inside = WaitingRoom(12, 5, random.Random(3)), {}

    for enters, visitor, address in steps:
        if enters:
            gone = room.enter(visitor, address)
            inside.setdefault(visitor, address)
            if gone is not None:
                assert gone != visitor
                del inside[gone]
        else:
            room.leave(visitor)
            inside.pop(visitor, None)
        assert len(room) == len(inside) <= 12
        shares = Counter(inside.values())
        assert max(shares["x"], shares["y"]) <= 5
    for visitor in inside:
        room.leave(visitor)

    assert len(room) == 0
