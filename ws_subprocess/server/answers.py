"""What this server adds to uvicorn's answers, for ASGI applications that know of it.

Trailers are the extension `http.response.trailers` of ASGI; `ANSWER_EXTENSION` is ours.

Laws: an answer that says `Connection: close` is the last one of its connection: what follows its request is thrown away
unread, so that the client's end is seen however much it has sent; a client that is still sending its body when it is
answered can read the answer to its end all the same.
"""

import select
from collections.abc import Iterable
from typing import Any, Protocol

from ws_subprocess.server.asgi import Application, Message, Receive, Scope, Send
from ws_subprocess.server.cork import CorkedTransport
from ws_subprocess.server.linger import linger
from ws_subprocess.server.settings import LINGER_S

ANSWER_EXTENSION = "ws_subprocess.answer"
"""scope["extensions"][ANSWER_EXTENSION]["answer"] is the `Answer`: its `cut` and `has_left` are for the application."""

_TRAILERS_EXTENSION = "http.response.trailers"
_GONE = select.POLLRDHUP | select.POLLHUP | select.POLLERR | select.POLLNVAL

Headers = Iterable[tuple[bytes, bytes]]


class Connection(Protocol):
    """What an answer needs of the HTTP connection that it goes out on."""

    transport: Any

    def discard_rest(self) -> None:
        """Read on, but throw away what comes after the request that is being answered."""

    def forgo_chunks(self, cycle: Any) -> None:
        """Let the end of the connection be the end of the body."""

    def end_message(self, cycle: Any, trailers: Headers) -> bool:
        """Write the end of the body; tell whether the connection ends with it."""


class Answer:
    """One request's conversation between uvicorn's cycle and the application."""

    __slots__ = (
        "_application",
        "_connection",
        "_cycle",
        "_has_trailers",
        "_is_http_1_0",
        "_is_last",
        "_send_on",
        "_trailers",
    )

    def __init__(self, application: Application, connection: Connection, cycle: Any) -> None:
        self._application = application
        self._connection = connection
        self._cycle = cycle
        self._has_trailers = False
        self._is_http_1_0 = cycle.scope["http_version"] == "1.0"
        self._is_last = False
        self._trailers: list[tuple[bytes, bytes]] = []
        self._send_on: Send

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application."""
        self._send_on = send
        extensions: dict[str, Any] = {ANSWER_EXTENSION: {"answer": self}}
        if not self._is_http_1_0:
            extensions[_TRAILERS_EXTENSION] = {}
        scope["extensions"] = extensions
        self._is_last = _says_close(scope["headers"])
        self._cycle.transport = CorkedTransport(self._connection.transport, has_body=scope["method"] != "HEAD")
        await self._application(scope, receive, self._send)

    def cut(self) -> None:
        """End the connection without an end of the body: the client can tell that something is missing."""
        if not self._cycle.disconnected:
            # For uvicorn the client has left, which is where it stops to ask for an end.
            self._cycle.disconnected = True
            self._cycle.message_event.set()
            self._cycle.transport.flush()
            linger(self._connection.transport, self._connection.transport.get_protocol(), LINGER_S)

    def has_left(self) -> bool:
        """Tell whether the client has gone, also while nothing it sends is read."""
        if self._cycle.disconnected:
            return True
        poll = select.poll()
        poll.register(self._connection.transport.get_extra_info("socket").fileno(), select.POLLRDHUP)
        return any(events & _GONE for _, events in poll.poll(0))

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case "http.response.start":
                self._has_trailers = bool(message.get("trailers", False))
                if self._is_http_1_0:
                    # It knows no chunks (RFC 9112, section 6.1).
                    self._connection.forgo_chunks(self._cycle)
                self._is_last = self._is_last or _says_close(message.get("headers", ()))
                await self._send_on(message)
                if self._is_last:
                    self._connection.discard_rest()
            case "http.response.body" if self._is_ours_to_end(message):
                await self._send_on({**message, "more_body": True})
                if not self._has_trailers:
                    self._end()
            case "http.response.trailers":
                self._trailers += message.get("headers", ())
                if not message.get("more_trailers", False):
                    self._end()
            case _:
                await self._send_on(message)

    def _is_ours_to_end(self, message: Message) -> bool:
        is_end = not message.get("more_body", False)
        # To uvicorn a body without chunks has a length, which bodies of HTTP/1.0 need not have.
        return is_end and (self._has_trailers or self._is_http_1_0 or (self._is_last and self._cycle.more_body))

    def _end(self) -> None:
        cycle = self._cycle
        if cycle.disconnected:
            return
        is_last = self._connection.end_message(cycle, self._trailers)
        cycle.response_complete = True
        cycle.message_event.set()
        # With more of the body to come, the connection lingers: to close it would reset it.
        if is_last and not cycle.more_body:
            cycle.transport.close()
        cycle.on_response()


def _says_close(headers: Headers) -> bool:
    values = (value for name, value in headers if name.lower() == b"connection")
    return any(token.strip().lower() == b"close" for value in values for token in value.split(b","))
