"""HTTP connections parsed by httptools: uvicorn's protocol with a deadline and limits for the head, and our websockets.

Laws:
    A request's head has one deadline in all, however its bytes are spread, the TLS handshake before it included; so has
    a client that sends nothing, and one that takes nothing. While it is the client's turn the connection has a seat.
    What `request_rules` refuses is answered here; the application is never called for it.
"""

import sys
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from ws_subprocess.server.answers import Answer, Headers
from ws_subprocess.server.doorkeeper import Seat
from ws_subprocess.server.http_shared import WatchedConnection
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
from ws_subprocess.server.settings import ServerSettings
from ws_subprocess.server.upgrade import upgrade


class _Refused(Exception):  # noqa: N818 - control flow through the parser, not an error
    """Leaves a parser callback: the head is no good."""


class HttpToolsConnection(WatchedConnection, HttpToolsProtocol):
    """One HTTP connection."""

    def __init__(self, settings: ServerSettings, *args: Any, seat: Seat, **kwargs: Any) -> None:
        super().__init__(settings, *args, seat=seat, **kwargs)
        self._refusal: Refusal | None = None
        self._is_head_open = False
        self._is_told_again = False
        # Of the head that is open: what the parser has named so far.
        self._head_bytes = 0
        # What the parser was fed and has made nothing of yet, but parts of a head, of trailers or of sizes of chunks.
        self._fed_bytes = 0
        self._answering: RequestResponseCycle | None = None

    # asyncio.Protocol.

    def connection_lost(self, exc: Exception | None) -> None:
        # uvicorn only tells the request that came last; of pipelined ones, it is an earlier one that is being answered.
        if self._answering is not None and not self._answering.response_complete:
            self._answering.disconnected = True
            self._answering.message_event.set()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unset_keepalive_if_required()
        if self._discards and self._answering is not None and not self._answering.more_body:
            return
        if self._is_idle():
            # Also for a head that began behind a request which is answered by now.
            self._head_deadline.start()
        self._fed_bytes += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as exc:
            self._on_upgrade(data[exc.args[0] :])
            return
        except httptools.HttpParserError:
            self._refuse(self._refusal or BAD_REQUEST)
            return
        if self._fed_bytes > MAX_HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)

    # Parser callbacks.

    def on_message_begin(self) -> None:
        if self._is_told_again:
            return
        super().on_message_begin()
        self._is_head_open = True
        self._head_bytes = self._fed_bytes = 0

    def on_url(self, url: bytes) -> None:
        if self._is_told_again:
            return
        super().on_url(url)
        self._head_bytes += len(url)
        if self._head_bytes > MAX_HEAD_BYTES:
            self._leave_parser(TARGET_TOO_LONG)

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._is_head_open:
            # A trailer: what a proxy has not looked at must not pass for a header (RFC 9110, section 6.5.1).
            return
        super().on_header(name, value)
        self._head_bytes += len(name) + len(value) + 4
        if self._head_bytes > MAX_HEAD_BYTES or len(self.headers) > MAX_HEADER_LINES:
            self._leave_parser(HEAD_TOO_LARGE)

    def on_headers_complete(self) -> None:
        if self._is_told_again:
            return
        self._is_head_open = False
        self._head_deadline.stop()
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if refusal := find_refusal(method, self.url, version, self.headers):
            self._leave_parser(refusal)
        super().on_headers_complete()
        self._update_seat()
        if self._discards:
            self.flow.resume_reading()

    def on_body(self, body: bytes) -> None:
        self._fed_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._fed_bytes = 0
        super().on_message_complete()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._answering = cycle
        answer: Any = Answer(app, self, cycle)
        super()._start_asgi_task(cycle, answer)

    def forgo_chunks(self, cycle: RequestResponseCycle) -> None:
        """Let the end of the connection be the end of the body, for `Answer`."""
        cycle.chunked_encoding = False
        cycle.expected_content_length = sys.maxsize

    def end_message(self, cycle: RequestResponseCycle, trailers: Headers) -> bool:
        """Write the end of the body, for `Answer`; tell whether the connection ends with it."""
        if cycle.chunked_encoding:
            lines = [name + b": " + value + b"\r\n" for name, value in trailers]
            cycle.transport.write(b"".join([b"0\r\n", *lines, b"\r\n"]))
        return not cycle.keep_alive

    def _leave_parser(self, refusal: Refusal) -> None:
        self._refusal = refusal
        raise _Refused

    def _on_upgrade(self, rest: bytes) -> None:
        """The parser has met a request to speak another protocol; `rest` follows it."""
        if not wants_websocket(self.headers):
            self._go_on_in_http(rest)
        elif not self._is_idle():
            self.transport.abort()
        else:
            self.seat.leave()
            upgrade(self, self._settings, self.url, rest)
            # Parser and protocol hold each other; a websocket lives long and needs neither.
            self.parser = None  # type: ignore[assignment] # as uvicorn does when a connection is lost

    def _go_on_in_http(self, rest: bytes) -> None:
        """Take the body of a request that offers a protocol which we do not speak (RFC 9110, section 7.8).

        Its parser takes no body after such a head; so another one does, which is told only how the body is framed.
        """
        lines = [
            name + b": " + value + b"\r\n"
            for name, value in self.headers
            if name in (b"content-length", b"transfer-encoding")
        ]
        self.cycle.more_body = True
        self.parser = httptools.HttpRequestParser(self)
        self._is_told_again = True
        self.parser.feed_data(b"".join([b"POST / HTTP/1.1\r\n", *lines, b"\r\n"]))
        self._is_told_again = False
        if rest:
            self.data_received(rest)
