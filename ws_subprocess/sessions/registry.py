"""The sessions that live now, how many may, and their common end.

Law: a place is taken before anything is asked or started, so that no race can exceed the limit.
"""

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ws_subprocess.errors import CapacityError
from ws_subprocess.model import SessionId
from ws_subprocess.sessions.session import Session

_RETRY_WHEN_FULL_S = 5
_RETRY_WHEN_DRAINING_S = 30

log = logging.getLogger(__name__)


class SessionRegistry:
    """Knows every live session of one daemon.

    Args:
        max_sessions: Most sessions at a time, those being started included.
    """

    def __init__(self, max_sessions: int) -> None:
        self._max_sessions = max_sessions
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
    def place(self) -> Iterator[None]:
        """Hold one of the places for as long as the block runs.

        Raises:
            CapacityError: All are taken, or the daemon is draining.
        """
        self.check_room()
        self._places += 1
        self._empty.clear()
        try:
            yield
        finally:
            self._places -= 1
            if self._places == 0:
                self._empty.set()

    def check_room(self) -> None:
        """Raise `CapacityError` when a new session would be refused now."""
        self.check_open()
        if self._places >= self._max_sessions:
            raise CapacityError("too_many_sessions", f"max_sessions: {self._max_sessions}", _RETRY_WHEN_FULL_S)

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
