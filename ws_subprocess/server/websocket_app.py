"""The application's side of a websocket: one ASGI conversation per connection.

Law: until the application takes the direct channel, at most what one read brought waits for its `receive`.
"""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from http import HTTPStatus

from websockets.datastructures import Headers
from websockets.http11 import Response

from ws_subprocess.server.asgi import Application, Message, Scope
from ws_subprocess.server.websocket import WebSocketConnection
from ws_subprocess.server.websocket_roles import HttpConnection, Phase

log = logging.getLogger(__name__)


class ClientGoneError(OSError):
    """The client has gone; ASGI wants an OSError from `send` then."""


class WebSocketApp:
    """Runs the application for one connection and carries its messages."""

    def __init__(self, http: HttpConnection, scope: Scope, connection: WebSocketConnection, response: Response) -> None:
        """Prepare; this is one of the server's connections from now on, until it is lost.

        Args:
            response: The 101 to answer with, should the application accept.
        """
        self._application: Application = http.app
        self._scope = scope
        self._connection = connection
        self._response = response
        self._connections = http.connections
        self._seat = http.seat
        self._connections.add(self)
        self._is_over = False
        self._is_lost = False
        self._connect_told = False
        # One event for all that is waited for, and no deque: each holds 700 bytes, for every idle session.
        self._received: list[bytes | str] = []
        self._disconnect: Message | None = None
        self._is_full = False
        self._changed = asyncio.Event()
        self._denial: Response | None = None

    async def run(self) -> None:
        """Call the application and see to it that the client gets an end whatever it does."""
        try:
            await self._application(self._scope, self._receive, self._send)
        except ClientGoneError:
            pass
        except Exception:
            log.exception("application failed")
            self._give_up(1011, "Internal error")
        except asyncio.CancelledError:
            self._give_up(1012, "service restart")
            raise
        else:
            if self._connection.phase is Phase.HANDSHAKE:
                log.error("application returned without an answer to the handshake")
            self._give_up(1000, "")
        finally:
            self._is_over = True
            self._let_go()

    def refuse(self, status: HTTPStatus, text: str) -> None:
        """Answer a handshake that is still open, from outside the application."""
        body = text.encode()
        headers = Headers([("Content-Type", "text/plain; charset=utf-8"), ("Content-Length", str(len(body)))])
        self._deny(Response(status, status.phrase, headers, body))

    def shutdown(self) -> None:
        """End because the server ends; called by it."""
        if self._connection.phase is Phase.HANDSHAKE:
            self.refuse(HTTPStatus.SERVICE_UNAVAILABLE, "Server is shutting down")
        else:
            self._connection.close(1012, "service restart")

    def abort(self) -> None:
        """Cut the connection."""
        self._connection.abort()

    # What the connection tells (Listener).

    def on_message(self, message: bytes | str) -> None:
        """Keep a message for `receive`, and read no more until it was taken."""
        self._received.append(message)
        self._changed.set()
        self._connection.pause()

    def on_writable(self) -> None:
        """Let `send` go on."""
        self._is_full = False
        self._changed.set()

    def on_disconnect(self, code: int, reason: str) -> None:
        """Let `receive` and `send` end."""
        self._disconnect = {"type": "websocket.disconnect", "code": code, "reason": reason}
        self._changed.set()

    def on_lost(self) -> None:
        """Leave the server's list."""
        self._connections.discard(self)
        self._seat.leave()
        self._is_lost = True
        self._let_go()

    def take_messages(self) -> Sequence[bytes | str]:
        """Give away what waits; from now on only the end of the connection comes this way."""
        messages, self._received = self._received, []
        return messages

    # ASGI.

    async def _receive(self) -> Message:
        if not self._connect_told:
            self._connect_told = True
            return {"type": "websocket.connect"}
        while not self._received:
            if self._disconnect is not None:
                return self._disconnect
            self._changed.clear()
            await self._changed.wait()
        message = self._received.pop(0)
        if not self._received:
            self._connection.resume()
        kind = "text" if isinstance(message, str) else "bytes"
        return {"type": "websocket.receive", kind: message}

    async def _send(self, message: Message) -> None:
        if self._disconnect is not None:
            if message["type"] in ("websocket.close", "websocket.http.response.body"):
                return  # What it asks for has happened.
            raise ClientGoneError
        if self._denial is not None:
            self._continue_denial(self._denial, message)
        elif self._connection.phase is Phase.HANDSHAKE:
            self._answer_handshake(message)
        else:
            await self._send_open(message)

    async def _send_open(self, message: Message) -> None:
        match message["type"]:
            case "websocket.send":
                while self._is_full and self._disconnect is None:
                    self._changed.clear()
                    await self._changed.wait()
                if self._connection.phase is not Phase.OPEN:
                    raise ClientGoneError
                payload = message.get("bytes")
                self._is_full = not self._connection.send(message["text"] if payload is None else payload)
            case "websocket.close":
                self._connection.close(message.get("code", 1000), message.get("reason") or "")
            case other:
                raise RuntimeError(f"{other!r} came where 'websocket.send' or 'websocket.close' is possible")

    def _answer_handshake(self, message: Message) -> None:
        match message["type"]:
            case "websocket.accept":
                self._accept(message)
            case "websocket.close":
                self.refuse(HTTPStatus.FORBIDDEN, "Forbidden")
            case "websocket.http.response.start":
                status = HTTPStatus(message["status"])
                headers = Headers(_decode(message.get("headers", ())))
                self._denial = Response(status, status.phrase, headers, bytearray())
            case other:
                raise RuntimeError(f"{other!r} came where an answer to the handshake is possible")

    def _accept(self, message: Message) -> None:
        for name, value in _decode(message.get("headers", ())):
            self._response.headers[name] = value
        if subprotocol := message.get("subprotocol"):
            self._response.headers["Sec-WebSocket-Protocol"] = subprotocol
        self._connection.accept(self._response)

    def _continue_denial(self, denial: Response, message: Message) -> None:
        if message["type"] != "websocket.http.response.body":
            raise RuntimeError(f"{message['type']!r} came where 'websocket.http.response.body' is possible")
        denial.body += message.get("body", b"")
        if not message.get("more_body", False):
            denial.headers.setdefault("Content-Length", str(len(denial.body)))
            self._deny(denial)

    def _deny(self, response: Response) -> None:
        response.headers.setdefault("Date", self._response.headers["Date"])
        # The connection is no use after this: what follows the request may be frames.
        response.headers.setdefault("Connection", "close")
        self._seat.take()
        self._connection.deny(response)

    def _let_go(self) -> None:
        """Break the circle of references at the end of both: memory comes back now, not with some later collection."""
        if self._is_over and self._is_lost:
            del self._connection, self._scope, self._application

    def _give_up(self, code: int, reason: str) -> None:
        """End whatever the application left open."""
        if self._connection.phase is Phase.HANDSHAKE:
            self.refuse(HTTPStatus.INTERNAL_SERVER_ERROR, "Internal error")
        else:
            self._connection.close(code, reason)


def _decode(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers]
