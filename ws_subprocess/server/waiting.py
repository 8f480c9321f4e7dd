"""Who waits, and who has to go when too many do. Pure: no I/O, and the dice are an argument.

Laws:
    A newcomer always gets in. A client in good faith says at once what it wants and leaves this room; one that says
    nothing sits here, so most of those that chance meets are silent ones.
    From 60 % of a limit on somebody goes now and then, at the limit with every newcomer: a flood meets resistance
    before the room is full ("random early drop", as MaxStartups of sshd_config(5)).
    A crowd from one address costs places of that address first. Every call takes the same time however many wait.
"""

import random
from collections.abc import Hashable
from typing import Generic, TypeVar

_EARLY_SHARE = 0.6

Visitor = TypeVar("Visitor", bound=Hashable)


class WaitingRoom(Generic[Visitor]):
    """Everybody who waits.

    Args:
        most: Of all, at least 1.
        most_per_address: Of one address, at least 1.
        dice: Chooses who goes.
    """

    def __init__(self, most: int, most_per_address: int, dice: random.Random) -> None:
        self._most_per_address = most_per_address
        self._dice = dice
        self._all: _Crowd[Visitor] = _Crowd(most)
        self._crowds: dict[str, _Crowd[Visitor]] = {}
        self._addresses: dict[Visitor, str | None] = {}

    def __len__(self) -> int:
        return len(self._addresses)

    def enter(self, visitor: Visitor, address: str | None) -> Visitor | None:
        """Let `visitor` in and return who had to leave for it, if anybody. Nothing happens when it is in already.

        Args:
            address: Whose share it takes; None for no share of anybody's.
        """
        if visitor in self._addresses:
            return None
        self._addresses[visitor] = address
        self._all.add(visitor)
        victim = None if address is None else self._crowd_of(address, visitor).choose(self._dice)
        if victim is None:
            victim = self._all.choose(self._dice)
        if victim is not None:
            self.leave(victim)
        return victim

    def expel(self) -> Visitor | None:
        """Choose one who has to leave, whatever the limits; None when nobody is here."""
        victim = self._all.pick(self._dice)
        if victim is not None:
            self.leave(victim)
        return victim

    def leave(self, visitor: Visitor) -> None:
        """Let `visitor` go. Nothing happens when it is not here."""
        if visitor not in self._addresses:
            return
        address = self._addresses.pop(visitor)
        self._all.remove(visitor)
        if address is not None:
            crowd = self._crowds[address]
            crowd.remove(visitor)
            if not len(crowd):
                del self._crowds[address]

    def _crowd_of(self, address: str, visitor: Visitor) -> "_Crowd[Visitor]":
        crowd = self._crowds.get(address)
        if crowd is None:
            crowd = self._crowds[address] = _Crowd(self._most_per_address)
        crowd.add(visitor)
        return crowd


class _Crowd(Generic[Visitor]):
    """Some of those who wait, in a list without gaps, so that each is met by chance equally often."""

    __slots__ = ("_early", "_line", "_most", "_places")

    def __init__(self, most: int) -> None:
        self._most = most
        self._early = int(most * _EARLY_SHARE)
        self._line: list[Visitor] = []
        self._places: dict[Visitor, int] = {}

    def __len__(self) -> int:
        return len(self._line)

    def add(self, visitor: Visitor) -> None:
        self._places[visitor] = len(self._line)
        self._line.append(visitor)

    def remove(self, visitor: Visitor) -> None:
        place, last = self._places.pop(visitor), self._line.pop()
        if last is not visitor:
            self._line[place] = last
            self._places[last] = place

    def choose(self, dice: random.Random) -> Visitor | None:
        """Return who has to go for the one that was added last, None when there is room enough."""
        over, others = len(self._line) - self._early, len(self._line) - 1
        if over <= 0 or not others or dice.randrange(self._most + 1 - self._early) >= over:
            return None
        return self._line[dice.randrange(others)]

    def pick(self, dice: random.Random) -> Visitor | None:
        """Return anyone; None when nobody is here."""
        return self._line[dice.randrange(len(self._line))] if self._line else None
