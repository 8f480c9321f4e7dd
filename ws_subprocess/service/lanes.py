"""Whose turn it is: waiting jobs in lanes, by priority, with fair turns between principals. Pure.

Laws: never more than `most` jobs run, and of a lane never more than its limit; of those that may begin, one of the
highest priority does; lanes, and in a lane principals, take turns; jobs of one principal begin in the order they came;
a principal for whose jobs there is no room keeps nobody else waiting.
"""

from bisect import insort
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """Where a job waits."""

    lane: str
    principal: str
    priority: int = 0


# Who waits at one priority of a lane; the principal whose turn it is comes first, and his jobs by the order they came.
_Turns = OrderedDict[str, deque[tuple[int, str]]]


@dataclass(slots=True)
class _Lane:
    priorities: dict[int, _Turns] = field(default_factory=dict)
    served_at: int = 0


class Lanes:
    """Jobs that wait, and how many of each lane run.

    Args:
        most: Jobs that run at a time, at least 1.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._limits: dict[str, int] = {}
        self._lanes: dict[str, _Lane] = {}
        self._waiting: dict[str, Place] = {}
        self._running: dict[str, str] = {}
        self._numbers: dict[str, int] = {}
        self._counts: Counter[str] = Counter()
        self._resting: set[str] = set()
        self._pushed = 0
        self._served = 0

    def __len__(self) -> int:
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many jobs have begun and not ended."""
        return len(self._running)

    def limit(self, lane: str, most: int) -> None:
        """Let at most so many jobs of a lane run at a time; others have no limit of their own."""
        self._limits[lane] = most

    def push(self, job: str, place: Place) -> None:
        """Let a job wait, behind those of its principal and priority."""
        self._pushed += 1
        self._numbers[job] = self._pushed
        self._find_queue(place).append((self._pushed, job))
        self._waiting[job] = place

    def take_at_once(self, job: str, place: Place) -> bool:
        """Let a job run from now on without waiting, if nobody waits and it may; False when it has to wait."""
        if self._waiting or not self._has_room(place.lane) or place.principal in self._resting:
            return False
        self.push(job, place)
        return self.take() == job

    def put_back(self, job: str, place: Place) -> None:
        """Let a job that was taken, and could not begin, wait again, before those that came later."""
        number = self._numbers[job]
        self.end(job)
        self._numbers[job] = number
        insort(self._find_queue(place), (number, job))
        self._waiting[job] = place

    def take(self) -> str | None:
        """Return the job whose turn it is, which runs from now on; None when none may begin."""
        chosen = self._choose_lane()
        if chosen is None:
            return None
        lane, priority = chosen
        self._served += 1
        self._lanes[lane].served_at = self._served
        turns = self._lanes[lane].priorities[priority]
        principal, queue = next(turn for turn in turns.items() if turn[0] not in self._resting)
        _, job = queue.popleft()
        turns.move_to_end(principal)
        place = self._waiting.pop(job)
        self._tidy(place)
        self._running[job] = lane
        self._counts[lane] += 1
        return job

    def end(self, job: str) -> None:
        """Give the place of a running job free."""
        lane = self._running.pop(job)
        del self._numbers[job]
        self._counts[lane] -= 1
        if not self._counts[lane]:
            del self._counts[lane]

    def remove(self, job: str) -> bool:
        """Let a job wait no longer; False when it does not."""
        place = self._waiting.pop(job, None)
        if place is None:
            return False
        waiting = self._lanes[place.lane].priorities[place.priority][place.principal]
        waiting.remove((self._numbers.pop(job), job))
        self._tidy(place)
        return True

    def rest(self, principal: str) -> None:
        """Take no jobs of `principal` until `wake`."""
        self._resting.add(principal)

    def wake(self) -> None:
        """Take jobs of everybody again."""
        self._resting.clear()

    def _choose_lane(self) -> tuple[str, int] | None:
        """Return the lane whose turn it is, and its priority at which somebody may begin."""
        found = [
            (-priority, lane.served_at, name)
            for name, lane in self._lanes.items()
            if self._has_room(name) and (priority := self._find_priority(lane)) is not None
        ]
        if not found:
            return None
        priority, _, name = min(found, key=lambda item: item[:2])
        return name, -priority

    def _has_room(self, lane: str) -> bool:
        return len(self._running) < self._most and self._counts[lane] < self._limits.get(lane, self._most)

    def _find_priority(self, lane: _Lane) -> int | None:
        """Return the highest priority at which somebody waits who does not rest."""
        return max(
            (number for number, turns in lane.priorities.items() if any(who not in self._resting for who in turns)),
            default=None,
        )

    def _find_queue(self, place: Place) -> deque[tuple[int, str]]:
        lane = self._lanes.setdefault(place.lane, _Lane(served_at=self._served))
        turns = lane.priorities.setdefault(place.priority, OrderedDict())
        return turns.setdefault(place.principal, deque())

    def _tidy(self, place: Place) -> None:
        """Forget a queue, a priority and a lane in which nobody waits."""
        lane = self._lanes[place.lane]
        turns = lane.priorities[place.priority]
        if not turns[place.principal]:
            del turns[place.principal]
        if not turns:
            del lane.priorities[place.priority]
        if not lane.priorities:
            del self._lanes[place.lane]
