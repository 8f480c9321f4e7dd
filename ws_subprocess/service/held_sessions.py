"""Sessions that no connection holds: they outlive the request that started them.

Laws: such a session ends with its command, by a limit of its grant, by a signal, with the daemon, or when its owner has
not asked for it for a while; then its output can be had for a while longer, and the table is bounded.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from ws_subprocess.errors import BridgeError, CapacityError
from ws_subprocess.model import Grant, LaunchRequest, SessionId
from ws_subprocess.service.job import Owner
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.session import Session

_READ_BYTES = 64 * 1024
_WAITERS_MAX = 16
_RETRY_AFTER_S = 1

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long sessions are kept for owners who do not ask for them.

    Attributes:
        lease_s: How long one runs on.
        kept_s: How long the output of one that has ended is kept.
        kept_max: How many that have ended are kept; the oldest go first.
        look_s: How often somebody looks.
    """

    lease_s: float = 3600.0
    kept_s: float = 300.0
    kept_max: int = 100
    look_s: float = 2.0


class Held:
    """A session, its owner, and those who wait for something of it.

    Attributes:
        started_at: Unix time.
        asked_at: When its owner last asked for it, in seconds of the loop's clock.
        has_input_room: False while the command leaves too much of its input unread.
    """

    def __init__(self, session: Session, owner: Owner) -> None:
        self.session = session
        self.owner = owner
        self.started_at = time.time()
        self.asked_at = asyncio.get_running_loop().time()
        self._waiters: set[asyncio.Future[None]] = set()
        # A cursor that reads along: it hears of everything, and never makes the command wait.
        self._cursor = session.attach(self._wake, lambda _: None, has_acks=False)
        session.start()

    @property
    def has_input_room(self) -> bool:
        """Whether more input may be written."""
        return not self._cursor.is_input_full

    def note_asked(self) -> None:
        """Remember that its owner still cares."""
        self.asked_at = asyncio.get_running_loop().time()

    def write(self, data: bytes) -> None:
        """Send input to the command."""
        self._cursor.write(data)

    async def wait(self, is_enough: Callable[[], bool], timeout_s: float) -> None:
        """Return when `is_enough`, or the time is up.

        Raises:
            CapacityError: Too many wait already.
        """
        loop = asyncio.get_running_loop()
        until = loop.time() + timeout_s
        while not is_enough() and (left_s := until - loop.time()) > 0:
            if len(self._waiters) >= _WAITERS_MAX:
                raise CapacityError("too_many_handshakes", f"{_WAITERS_MAX} wait already", _RETRY_AFTER_S)
            waiter: asyncio.Future[None] = loop.create_future()
            self._waiters.add(waiter)
            try:
                await asyncio.wait((waiter,), timeout=left_s)
            finally:
                self._waiters.discard(waiter)

    def _wake(self) -> None:
        while self._cursor.read(_READ_BYTES) is not None:
            pass
        for waiter in self._waiters:
            if not waiter.done():
                waiter.set_result(None)


@dataclass(slots=True)
class HeldSessions:
    """The sessions of one door; `serve` must be entered while it is open."""

    launcher: Launcher
    patience: Patience = field(default_factory=Patience)
    _held: dict[SessionId, Held] = field(default_factory=dict)
    _ended_at: dict[SessionId, float] = field(default_factory=dict)
    _group: asyncio.TaskGroup | None = None

    def __iter__(self) -> Iterator[Held]:
        return iter(tuple(self._held.values()))

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        """Hold sessions while the block runs; somebody else ends them before its end (`SessionRegistry.kill_all`)."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            look = group.create_task(self._look_now_and_then())
            try:
                yield
            finally:
                self._group = None
                look.cancel()

    def find(self, session_id: str) -> Held | None:
        """Return a session that lives, or ended not long ago."""
        return self._held.get(SessionId(session_id))

    async def start(self, grant: Grant, request: LaunchRequest, owner: Owner) -> Held:
        """Start what was granted.

        Raises:
            BridgeError: There is no room now, or the command could not be started.
            RuntimeError: `serve` was not entered.
        """
        if self._group is None:
            raise RuntimeError("no sessions can be held: the application's lifespan was not entered")
        started: asyncio.Future[Held] = asyncio.get_running_loop().create_future()
        self._group.create_task(self._hold(grant, request, owner, started))
        return await started

    def look(self, now: float) -> None:
        """End and forget what nobody asks for; `now` is the loop's time."""
        for held in self:
            ended_at = self._ended_at.get(held.session.id)
            if ended_at is None and now - held.asked_at > self.patience.lease_s:
                held.session.hang_up("idle_timeout")
            elif ended_at is not None and now - max(ended_at, held.asked_at) > self.patience.kept_s:
                self._forget(held.session.id)

    async def _hold(self, grant: Grant, request: LaunchRequest, owner: Owner, started: asyncio.Future[Held]) -> None:
        try:
            async with self.launcher.run(grant, request) as session:
                if started.cancelled():
                    return
                held = self._held[session.id] = Held(session, owner)
                started.set_result(held)
                try:
                    await asyncio.wait((session.finished,))
                finally:
                    self._keep(session.id)
        except Exception as exc:
            # It would end the group, and with it the application.
            if not isinstance(exc, BridgeError) or started.done():
                log.exception("session failed", extra={"door": request.door})
            if not started.done():
                started.set_exception(exc)
        finally:
            # When the application ends in between.
            started.cancel()

    def _keep(self, session_id: SessionId) -> None:
        self._ended_at[session_id] = asyncio.get_running_loop().time()
        while len(self._ended_at) > self.patience.kept_max:
            self._forget(next(iter(self._ended_at)))

    def _forget(self, session_id: SessionId) -> None:
        del self._held[session_id], self._ended_at[session_id]

    async def _look_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(self.patience.look_s)
            self.look(asyncio.get_running_loop().time())
