"""Whose turn it is: limits, priorities, and turns, whatever the order of events."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.service.lanes import Lanes, Place

PLACES = st.builds(Place, st.sampled_from("xyz"), st.sampled_from(["", "ann", "bob"]), st.integers(0, 2))
# A place waits; in a tuple: it runs at once or not at all; None: one is taken; a number: a running one ends; -1: a
# waiting one is removed.
EVENTS = st.lists(PLACES | st.tuples(PLACES) | st.none() | st.integers(-1, 5), max_size=80)


def take_all(lanes: Lanes) -> list[str]:
    taken = []
    while (job := lanes.take()) is not None:
        taken.append(job)
        lanes.end(job)
    return taken


@given(EVENTS, st.integers(1, 4), st.dictionaries(st.sampled_from("xyz"), st.integers(1, 2)))
def test_limits_and_priorities_hold_and_no_job_is_lost_or_run_twice(
    events: list[Place | tuple[Place] | int | None], most: int, limits: dict[str, int]
) -> None:
    lanes = Lanes(most)
    for lane, limit in limits.items():
        lanes.limit(lane, limit)
    waiting: dict[str, Place] = {}
    running: dict[str, Place] = {}
    for number, event in enumerate(events):
        busy = Counter(place.lane for place in running.values())
        if isinstance(event, Place):
            waiting[str(number)] = event
            lanes.push(str(number), event)
        elif isinstance(event, tuple):
            (place,) = event
            may = not waiting and len(running) < most and busy[place.lane] < limits.get(place.lane, most)
            assert lanes.take_at_once(str(number), place) == may
            if may:
                running[str(number)] = place
        elif event is None:
            able = [p for p in waiting.values() if busy[p.lane] < limits.get(p.lane, most) and len(running) < most]
            job = lanes.take()
            assert (job is None) == (not able)
            if job is not None:
                running[job] = waiting.pop(job)
                assert running[job].priority == max(place.priority for place in able)
        elif event == -1 and waiting:
            job = next(iter(waiting))
            del waiting[job]
            assert lanes.remove(job)
            assert not lanes.remove(job)
        elif event >= 0 and event < len(running):
            job = list(running)[event]
            del running[job]
            lanes.end(job)
        assert (len(lanes), lanes.running) == (len(waiting), len(running))


@given(st.lists(st.sampled_from(["ann", "bob", "cleo"]), max_size=30))
def test_principals_take_turns_and_each_keeps_its_order(principals: list[str]) -> None:
    lanes = Lanes(1)
    for number, principal in enumerate(principals):
        lanes.push(f"{principal} {number:02}", Place("", principal))

    taken = take_all(lanes)

    left = Counter(principals)
    for start in range(len(taken)):
        turn = [job.split()[0] for job in taken[start : start + len(left)]]
        assert len(set(turn)) == len(turn)
        left[turn[0]] -= 1
        left += Counter()
    for principal in set(principals):
        own = [job for job in taken if job.startswith(principal)]
        assert own == sorted(own)


def test_who_submits_much_does_not_keep_others_waiting() -> None:
    lanes = Lanes(1)
    for number in range(1000):
        lanes.push(f"many {number}", Place("", "many"))
    lanes.push("one", Place("", "one"))

    assert take_all(lanes).index("one") == 1


def test_lanes_take_turns_too() -> None:
    lanes = Lanes(1)
    for number in range(3):
        lanes.push(f"x{number}", Place("x", "ann"))
        lanes.push(f"y{number}", Place("y", "ann"))

    assert take_all(lanes) == ["x0", "y0", "x1", "y1", "x2", "y2"]


def test_a_job_that_could_not_begin_keeps_its_turn() -> None:
    lanes = Lanes(1)
    lanes.push("a", Place("", "ann"))
    lanes.push("b", Place("", "ann"))
    job = lanes.take()

    assert job == "a"
    lanes.put_back(job, Place("", "ann"))

    assert take_all(lanes) == ["a", "b"]


def test_who_rests_keeps_nobody_else_waiting_and_comes_first_again_afterwards() -> None:
    lanes = Lanes(1)
    lanes.push("high", Place("", "ann", 5))
    lanes.push("low", Place("", "bob", -5))
    taken = lanes.take()
    assert taken == "high"
    lanes.put_back(taken, Place("", "ann", 5))

    lanes.rest("ann")
    resting = take_all(lanes)
    lanes.wake()

    assert resting == ["low"]
    assert take_all(lanes) == ["high"]


def test_jobs_that_could_not_begin_keep_their_order() -> None:
    lanes = Lanes(3)
    for job in "abcd":
        lanes.push(job, Place("", "ann"))
    taken = [lanes.take() for _ in range(3)]

    for job in taken:
        assert job is not None
        lanes.put_back(job, Place("", "ann"))

    assert take_all(lanes) == ["a", "b", "c", "d"]


def test_who_rests_does_not_run_at_once() -> None:
    lanes = Lanes(1)
    lanes.rest("ann")

    assert not lanes.take_at_once("1", Place("", "ann"))
    lanes.wake()
    assert lanes.take_at_once("2", Place("", "ann"))
