"""The sessions that live now, how many may, and their common end.

Law: a place is taken before anything is asked or started, so that no race can exceed the limit.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from ws_subprocess.errors import CapacityError
from ws_subprocess.model import SessionId
from ws_subprocess.sessions.session import Session

_RETRY_WHEN_FULL_S = 5
_RETRY_WHEN_DRAINING_S = 30

log = logging.getLogger(__name__)


class _Shares:
    """How many sessions each of a kind of owners has; 0 as the most is no limit."""

    def __init__(self, kind: str, most: int) -> None:
        self._kind = kind
        self._most = most
        self._counts: Counter[str] = Counter()

    def check(self, owner: str) -> None:
        if self._most and self._counts[owner] >= self._most:
            detail = f"max_sessions_per_{self._kind}: {self._most} for {owner!a}"
            raise CapacityError("too_many_sessions_user", detail, _RETRY_WHEN_FULL_S)

    @contextmanager
    def hold(self, owner: str) -> Iterator[None]:
        self.check(owner)
        self._counts[owner] += 1
        try:
            yield
        finally:
            self._counts[owner] -= 1
            if not self._counts[owner]:
                del self._counts[owner]


class SessionRegistry:
    """Knows every live session of one daemon.

    Args:
        max_sessions: Most sessions at a time, those being started included.
        max_per_address, max_per_principal: Most of them for one address, and for one principal; 0 for no limit.
    """

    def __init__(self, max_sessions: int, max_per_address: int = 0, max_per_principal: int = 0) -> None:
        self._max_sessions = max_sessions
        self._addresses = _Shares("address", max_per_address)
        self._principals = _Shares("principal", max_per_principal)
        self._sessions: dict[SessionId, Session] = {}
        self._listeners: list[Callable[[Session], None]] = []
        self._places = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.is_draining = False

    def __iter__(self) -> Iterator[Session]:
        return iter(tuple(self._sessions.values()))

    def __len__(self) -> int:
        return len(self._sessions)

    @contextmanager
    def place(self, address: str) -> Iterator[None]:
        """Hold one of the places for as long as the block runs.

        Raises:
            CapacityError: All are taken, or this address has its share, or the daemon is draining.
        """
        self.check_room(address)
        self._places += 1
        self._empty.clear()
        try:
            with self._addresses.hold(address):
                yield
        finally:
            self._places -= 1
            if self._places == 0:
                self._empty.set()

    def hold(self, principal: str) -> AbstractContextManager[None]:
        """Count the block as a session of `principal`; who has no name is not counted.

        Raises:
            CapacityError: This principal has its share.
        """
        return self._principals.hold(principal) if principal else nullcontext()

    def check_share(self, principal: str) -> None:
        """Raise `CapacityError` when this principal has its share."""
        if principal:
            self._principals.check(principal)

    def check_room(self, address: str) -> None:
        """Raise `CapacityError` when a new session of this address would be refused now."""
        self.check_open()
        if self._places >= self._max_sessions:
            raise CapacityError("too_many_sessions", f"max_sessions: {self._max_sessions}", _RETRY_WHEN_FULL_S)
        self._addresses.check(address)

    def check_open(self) -> None:
        """Raise `CapacityError` when the daemon is draining."""
        if self.is_draining:
            raise CapacityError("draining", "", _RETRY_WHEN_DRAINING_S)

    def add(self, session: Session) -> None:
        """Take a started session in until it is finished."""
        self._sessions[session.id] = session
        session.finished.add_done_callback(lambda _: self._remove(session))

    def on_end(self, listener: Callable[[Session], None]) -> None:
        """Call `listener` with every session that has finished from now on."""
        self._listeners.append(listener)

    def begin_drain(self) -> None:
        """Refuse new sessions from now on, and tell the clients of live ones."""
        if not self.is_draining:
            self.is_draining = True
            for session in self:
                session.notify("draining")

    async def wait_empty(self) -> None:
        """Return when no place is taken."""
        await self._empty.wait()

    def hang_up_all(self, reason: str) -> None:
        """End every session in order; `wait_empty` tells when that is done."""
        for session in self:
            session.hang_up(reason)

    def kill_all(self, reason: str) -> None:
        """End every session at once."""
        for session in self:
            session.kill_now(reason)

    def _remove(self, session: Session) -> None:
        del self._sessions[session.id]
        for listener in self._listeners:
            listener(session)
