"""HTTP connections parsed by httptools: uvicorn's protocol with a deadline and limits for the head, and our websockets.

Laws:
    A request's head has one deadline in all, however its bytes are spread, the TLS handshake before it included; so has
    a client that sends nothing, and one that takes nothing. While it is the client's turn the connection has a seat.
    What `request_rules` refuses is answered here; the application is never called for it.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ws_subprocess.server.answers import Answer, Headers
from ws_subprocess.server.doorkeeper import Seat
from ws_subprocess.server.http_shared import Deadline, refuse
from ws_subprocess.server.linger import linger
from ws_subprocess.server.request_rules import (
    BAD_REQUEST,
    HEAD_TOO_LARGE,
    MAX_HEAD_BYTES,
    MAX_HEADER_LINES,
    TARGET_TOO_LONG,
    Refusal,
    find_refusal,
    wants_websocket,
)
from ws_subprocess.server.settings import LINGER_S, WRITE_HIGH_WATER_BYTES, ServerSettings
from ws_subprocess.server.upgrade import upgrade


class _Refused(Exception):  # noqa: N818 - control flow through the parser, not an error
    """Leaves a parser callback: the head is no good."""


class HttpToolsConnection(HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, settings: ServerSettings, *args: Any, seat: Seat, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._settings = settings
        self.seat = seat
        self._head_deadline: Deadline
        self._stall_deadline: Deadline
        self._refusal: Refusal | None = None
        self._is_head_open = False
        # Of the head that is open: what the parser has named so far, and what it was fed after the read that began it.
        self._head_bytes = 0
        self._fed_bytes = 0
        self._answering: RequestResponseCycle | None = None
        self._discards = False

    # asyncio.Protocol.

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
        # uvicorn only tells the request that came last; of pipelined ones, it is an earlier one that is being answered.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall_deadline.start()
        self._update_seat()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stall_deadline.stop()
        self._update_seat()

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._discards and self._answering is not None and not self._answering.more_body:
            return
        if self._is_between_requests():
            self._head_deadline.start()
        if self._is_head_open:
            self._fed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._on_upgrade(data[exc.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._refusal or BAD_REQUEST)
            return
        if self._is_head_open and self._fed_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)

    # Parser callbacks.

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._is_head_open = True
        self._head_bytes = self._fed_bytes = 0

    def on_url(self, url: bytes) -> None:
        super().on_url(url)
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._leave_parser(TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADER_LINES:
            self._leave_parser(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        self._is_head_open = False
        self._head_deadline.stop()
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if refusal := find_refusal(method, self.url, version, self.headers):
            self._leave_parser(refusal)
        super().on_headers_complete()
        self._update_seat()
        if self._discards:
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        """Go on to the next request; called by the cycle of this one."""
        super().on_response_complete()
        if self.transport.is_closing():
            return
        self._update_seat()
        if self.cycle.response_complete and self.cycle.more_body:
            # Nobody wanted the body, so nobody waits for its end.
            linger(self.transport, self, LINGER_S)

    def _should_upgrade(self) -> bool:
        return wants_websocket(self.headers)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        answer: Any = Answer(app, self, cycle)
        super()._start_asgi_task(cycle, answer)

    # For `Answer`.

    def discard_rest(self) -> None:
        """Read on, but throw away what comes after the request that is being answered."""
        self._discards = True
        self.flow.resume_reading()

    def end_message(self, cycle: RequestResponseCycle, trailers: Headers) -> bool:
        """Write the end of the body; tell whether the connection ends with it."""
        if cycle.chunked_encoding:
            lines = [name + b": " + value + b"\r\n" for name, value in trailers]
            self.transport.write(b"".join([b"0\r\n", *lines, b"\r\n"]))
        return not cycle.keep_alive

    # Ends.

    def _update_seat(self) -> None:
        if self.flow.write_paused or self.cycle is None or self.cycle.response_complete:
            self.seat.take()
        else:
            self.seat.leave()

    def _is_between_requests(self) -> bool:
        return not self._is_head_open and (self.cycle is None or self.cycle.response_complete)

    def _leave_parser(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def _on_upgrade(self, rest: bytes) -> None:
        """The parser has met a request to speak another protocol; `rest` follows it."""
        if not wants_websocket(self.headers):
            # We may go on in HTTP/1.1 (RFC 9110, section 7.8), but the parser will not.
            self.cycle.keep_alive = False
        elif not self._may_write():
            self.transport.abort()
        else:
            self.seat.leave()
            upgrade(self, self._settings, self.url, rest)
            # Parser and protocol hold each other; a websocket lives long and needs neither.
            self.parser = None  # type: ignore[assignment] # as uvicorn does when a connection is lost

    def _refuse(self, refusal: Refusal) -> None:
        if self._may_write():
            self._head_deadline.stop()
            refuse(self.transport, self, refusal)
        else:
            self.transport.abort()

    def _may_write(self) -> bool:
        """Tell whether no response to an earlier, pipelined request is under way."""
        return self.cycle is None or self.cycle.response_complete

    def abort(self) -> None:
        """Cut the connection."""
        self.transport.abort()
