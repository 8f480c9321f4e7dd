"""What both HTTP protocols share: deadlines for the client, its seat, and how a request is refused."""

import asyncio
from typing import Any

from ws_subprocess.server.doorkeeper import Seat
from ws_subprocess.server.linger import linger
from ws_subprocess.server.request_rules import Refusal, wants_websocket
from ws_subprocess.server.settings import LINGER_S, WRITE_HIGH_WATER_BYTES, ServerSettings


class Deadline:
    """Cuts a connection unless `stop` follows `start` within `timeout_s`."""

    __slots__ = ("_loop", "_timeout_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, since_s: float | None = None) -> None:
        """Begin to wait; a wait that has begun goes on, so trickled bytes gain nothing.

        Args:
            since_s: When it really began, in the loop's time; None for now.
        """
        if self._timer is None:
            begun_s = self._loop.time() if since_s is None else since_s
            self._timer = self._loop.call_at(begun_s + self._timeout_s, self._transport.abort)

    def stop(self) -> None:
        """Wait no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class WatchedConnection(asyncio.Protocol):
    """Our part of an HTTP connection. Stands before uvicorn's protocol among the bases, whose methods it extends."""

    # uvicorn's.
    transport: Any
    flow: Any
    headers: Any
    cycle: Any

    def __init__(self, settings: ServerSettings, *args: Any, seat: Seat, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self.seat = seat
        self._head_deadline: Deadline
        self._stall_deadline: Deadline
        self._discards = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        transport.set_write_buffer_limits(WRITE_HIGH_WATER_BYTES)
        self._stall_deadline = Deadline(transport, self._settings.stall_timeout_s)
        self._head_deadline = Deadline(transport, self._settings.handshake_timeout_s)
        self._head_deadline.start(self.seat.since_s)

    def connection_lost(self, exc: Exception | None) -> None:
        self.seat.leave()
        self._head_deadline.stop()
        self._stall_deadline.stop()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_deadline.start()
        self._update_seat()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall_deadline.stop()
        self._update_seat()

    def on_response_complete(self) -> None:
        """Go on to the next request; called by the cycle of this one."""
        super().on_response_complete()  # type: ignore[misc]
        if self.transport.is_closing():
            return
        self._update_seat()
        if self.cycle.response_complete and self.cycle.more_body:
            # Nobody wanted the body, so nobody waits for its end.
            linger(self.transport, self, LINGER_S)

    def discard_rest(self) -> None:
        """Read on, but throw away what comes after the request that is being answered."""
        self._discards = True
        self.flow.resume_reading()

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()

    def _is_idle(self) -> bool:
        """Tell whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _update_seat(self) -> None:
        if self.flow.write_paused or self._is_idle():
            self.seat.take()
        else:
            self.seat.leave()

    def _refuse(self, refusal: Refusal) -> None:
        """Answer with `refusal` and end the connection so that the client can read it, whatever it is still sending."""
        if not self._is_idle():
            # It is the body that is wrong, or a request behind the one that is just being answered.
            self.transport.abort()
            return
        self._head_deadline.stop()
        self.transport.write(refusal.serialize())
        linger(self.transport, self, LINGER_S)

    def _should_upgrade(self) -> bool:
        return wants_websocket(self.headers)
