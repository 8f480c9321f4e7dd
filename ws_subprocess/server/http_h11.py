"""HTTP connections parsed by h11, for machines without httptools: the same rules as `http_httptools`."""

from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from ws_subprocess.server.answers import Answer, Headers
from ws_subprocess.server.asgi import Receive, Scope, Send
from ws_subprocess.server.doorkeeper import Seat
from ws_subprocess.server.http_shared import WatchedConnection
from ws_subprocess.server.request_rules import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    Refusal,
    find_refusal,
)
from ws_subprocess.server.settings import ServerSettings
from ws_subprocess.server.upgrade import upgrade


class _CheckedConnection(h11.Connection):
    """h11's parser with our rules: what they refuse is an error of the peer like any other."""

    refusal: Refusal = BAD_REQUEST

    def next_event(self) -> Any:
        try:
            event = super().next_event()
        except h11.RemoteProtocolError as exc:
            if exc.error_status_hint == HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE:
                self.refusal = HEAD_TOO_LARGE
            raise
        if isinstance(event, h11.Request):
            refusal = _find_refusal(event)
            if refusal is not None:
                self.refusal = refusal
                raise h11.RemoteProtocolError(refusal.text)
        return event


def _find_refusal(request: h11.Request) -> Refusal | None:
    headers = [(name.lower(), value) for name, value in request.headers]
    head_bytes = len(request.target) + sum(len(name) + len(value) + 4 for name, value in headers)
    if head_bytes > MAX_HEAD_BYTES or len(headers) > MAX_HEADER_LINES:
        return HEAD_TOO_LARGE
    return find_refusal(request.method, request.target, request.http_version.decode("ascii"), headers)


class H11Connection(WatchedConnection, H11Protocol):
    """One HTTP connection."""

    def __init__(self, settings: ServerSettings, *args: Any, seat: Seat, **kwargs: Any) -> None:
        super().__init__(settings, *args, seat=seat, **kwargs)
        self.conn: _CheckedConnection = _CheckedConnection(h11.SERVER, MAX_HEAD_BYTES)
        self._application: Any = self.app
        self.app = self._answer

    def data_received(self, data: bytes) -> None:
        if self._discards and not self.cycle.more_body:
            return
        if self.conn.their_state is h11.IDLE:
            self._head_deadline.start()
        super().data_received(data)

    def handle_events(self) -> None:
        super().handle_events()
        if self.conn.their_state is not h11.IDLE:
            self._head_deadline.stop()
            if self.transport.get_protocol() is self:  # It has not become a websocket.
                self._update_seat()
        if self._discards:
            self.flow.resume_reading()

    def send_400_response(self, msg: str) -> None:
        self._refuse(self.conn.refusal)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        self._head_deadline.stop()
        self.seat.leave()
        early, _ = self.conn.trailing_data
        upgrade(self, self._settings, event.target, early)

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        application = Answer(self._application, self, self.cycle) if scope["type"] == "http" else self._application
        await application(scope, receive, send)

    def forgo_chunks(self, cycle: RequestResponseCycle) -> None:
        """Let the end of the connection be the end of the body, for `Answer`: h11 does so by itself."""

    def end_message(self, cycle: RequestResponseCycle, trailers: Headers) -> bool:
        """Write the end of the body, for `Answer`; tell whether the connection ends with it."""
        cycle.transport.write(self.conn.send(h11.EndOfMessage(headers=list(trailers))) or b"")
        return self.conn.our_state is h11.MUST_CLOSE or not cycle.keep_alive

    def shutdown(self) -> None:
        """End because the server ends; called by it."""
        if self._is_idle():
            # uvicorn's would tell h11 too, which objects after a refusal that went around it.
            self.transport.close()
        else:
            super().shutdown()
