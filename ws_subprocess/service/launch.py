"""From credentials to a running session, and to its orderly end: the one way in for every door.

Law: a place in the registry is held from before the question until nothing of the session is left.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager
from dataclasses import replace

from ws_subprocess.address import group_address, is_local
from ws_subprocess.auth.gate import Gate
from ws_subprocess.dialects.native import name_signal
from ws_subprocess.errors import BridgeError, CapacityError, RequestError
from ws_subprocess.model import Credentials, Grant, LaunchRequest, SessionId
from ws_subprocess.process.spawner import Spawner
from ws_subprocess.rate import RateTable
from ws_subprocess.service.audit import note_abandoned, note_granted, note_refused
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.registry import SessionRegistry
from ws_subprocess.sessions.session import Session
from ws_subprocess.telemetry import Metrics

_RETRY_AFTER_S = 1
_KNOCK_BURST_S = 10
_ADDRESSES_MAX = 10_000

Hold = Callable[[Grant], AbstractContextManager[None]]

log = logging.getLogger(__name__)


class Launcher:
    """Starts sessions for whoever the gate lets in.

    Args:
        handshakes_per_s: How often one address may knock in the long run, ten times as often at once; 0 for no limit.
    """

    def __init__(
        self,
        gate: Gate,
        spawner: Spawner,
        registry: SessionRegistry,
        limits: SessionLimits,
        metrics: Metrics,
        handshakes_per_s: int = 0,
    ) -> None:
        self._gate = gate
        self._spawner = spawner
        self._registry = registry
        self._limits = limits
        self._metrics = metrics
        burst = handshakes_per_s * _KNOCK_BURST_S
        self._knocks = RateTable(handshakes_per_s, burst, _ADDRESSES_MAX) if handshakes_per_s else None

    @asynccontextmanager
    async def launch(
        self, credentials: Credentials, request: LaunchRequest, hold: Hold | None = None
    ) -> AsyncIterator[Session]:
        """Ask the gate, start the command, and yield its session, not yet pumping; leaving the block ends it wholly.

        Args:
            hold: Entered with the grant before a token is used up, left when nothing is left of the session.

        Raises:
            BridgeError: Refused, full, or the command could not be started.
        """
        begun = time.perf_counter()
        with ExitStack() as places:
            places.enter_context(self._registry.place(group_address(request.peer)))
            session = await self._start(credentials, request, places, hold)
            self._metrics.start_s.observe(time.perf_counter() - begun)
            try:
                yield session
            finally:
                await _end(session)

    async def authorize(
        self, credentials: Credentials, request: LaunchRequest, check: Callable[[Grant], None] | None = None
    ) -> Grant:
        """Return what these credentials may run, for who starts it later with `run`, or needs it to look at something.

        Args:
            check: Raises BridgeError when nothing could be started just now: then no token is used up for nothing.

        Raises:
            BridgeError: They may not, or nobody could decide.
        """

        def admit(grant: Grant) -> None:
            self._registry.check_open()
            if check is not None:
                check(grant)

        return await self._gate.authorize(credentials, request, admit)

    def check_share(self, grant: Grant) -> None:
        """Raise `CapacityError` when the principal of a grant has all the sessions that it may have."""
        self._registry.check_share(grant.principal)

    def check_grant(self, grant: Grant) -> None:
        """Raise BridgeError when what was granted by a daemon before this one is not allowed any more."""
        self._gate.check(grant)

    @asynccontextmanager
    async def run(
        self,
        grant: Grant,
        request: LaunchRequest,
        prepare: Callable[[], Awaitable[None]] | None = None,
        session_id: SessionId | None = None,
    ) -> AsyncIterator[Session]:
        """Start what was granted, as `launch` does.

        Args:
            session_id: From `make_session_id`, for who wrote it down before; None for a new one.
            prepare: Awaited once there is room, before anything is started: the place to write down what will be.

        Raises:
            BridgeError: There is no room now, or the command could not be started.
        """
        with ExitStack() as places:
            places.enter_context(self._registry.place(group_address(request.peer)))
            places.enter_context(self._registry.hold(grant.principal))
            if prepare is not None:
                await prepare()
                # Those who end all sessions must not meet one that begins behind their back.
                self._registry.check_open()
            session = self._spawn(grant, request, session_id or make_session_id())
            try:
                yield session
            finally:
                await _end(session)

    def check_room(self, peer: str) -> None:
        """Raise `CapacityError` when this peer would be refused now, before anything costs a token."""
        self._registry.check_room(group_address(peer))
        self.check_rate(peer)

    def check_open(self) -> None:
        """Raise `CapacityError` when the daemon is draining."""
        self._registry.check_open()

    @property
    def is_draining(self) -> bool:
        """Whether nothing may begin any more."""
        return self._registry.is_draining

    def check_rate(self, peer: str) -> None:
        """Raise `CapacityError` when this peer knocks too often."""
        address = group_address(peer)
        if self._knocks is not None and not is_local(peer) and not self._knocks.allows(address, time.monotonic()):
            detail = f"{address} knocks more often than max_handshakes_per_address"
            raise CapacityError("too_many_handshakes", detail, _RETRY_AFTER_S)

    def explain_refusal(self, credentials: Credentials) -> BridgeError:
        """Return why this token was refused a moment ago, or that an upgrade is needed."""
        return self._gate.find_refusal(credentials) or RequestError("upgrade_required")

    def note_refusal(self, error: BridgeError, request: LaunchRequest, credentials: Credentials | None = None) -> None:
        """Count and log a refusal, and keep it for a page that asks why."""
        self._metrics.refusals.labels(error.reason).inc()
        if credentials is not None:
            self._gate.remember_refusal(credentials, error)
        note_refused(error, request)

    async def _start(
        self, credentials: Credentials, request: LaunchRequest, places: ExitStack, hold: Hold | None
    ) -> Session:
        admitted: Grant | None = None

        def admit(grant: Grant) -> None:
            nonlocal admitted
            # Those who end all sessions must not meet one that begins behind their back.
            self._registry.check_open()
            self._spawner.check_room(grant if request.has_tty else replace(grant, tty=False))
            places.enter_context(self._registry.hold(grant.principal))
            if hold is not None:
                places.enter_context(hold(grant))
            admitted = grant

        try:
            grant = await self._gate.authorize(credentials, request, admit)
        except asyncio.CancelledError:
            # What was to be used up for this client may be all the same: nobody can call it back from the disk.
            note_abandoned(request, admitted)
            raise
        try:
            self._registry.check_open()
            return self._spawn(grant, request, make_session_id())
        except BridgeError as exc:
            exc.grant = grant
            raise

    def _spawn(self, grant: Grant, request: LaunchRequest, session_id: SessionId) -> Session:
        if grant.tty and not request.has_tty:
            grant = replace(grant, tty=False)
        size = request.size or grant.size
        child = self._spawner.start(grant, session_id, size)
        session = Session(session_id, grant, size, child, self._limits, self._metrics.echo_s.observe)
        self._registry.add(session)
        session.finished.add_done_callback(lambda _: self._note_end(session))
        self._metrics.starts.labels(request.door).inc()
        note_granted(session, request)
        return session

    def _note_end(self, session: Session) -> None:
        self._metrics.add_ended(session.input_bytes, session.ring.end)
        ended = session.ended
        status = ended.status if ended else None
        signal = None if status is None or status.signal is None else name_signal(status.signal)
        self._metrics.ends.labels(session.reason or ("signal" if signal else "exit")).inc()
        facts = {
            "session": session.id,
            "reason": session.reason or "exit",
            "code": status.code if status else None,
            "signal": signal,
            "duration_s": round(ended.duration_s, 3) if ended else None,
            "input_bytes": session.input_bytes,
            "output_bytes": session.ring.end,
        }
        log.info("session ended", extra=facts)


def make_session_id() -> SessionId:
    """Return an id that nobody had and nobody can guess."""
    return SessionId(secrets.token_hex(16))


async def _end(session: Session) -> None:
    if session.finished.done():
        return
    if session.ended is None:
        session.hang_up("client_gone")
    try:
        await asyncio.shield(session.finished)
    except asyncio.CancelledError:
        session.kill_now("cancelled")
        raise
