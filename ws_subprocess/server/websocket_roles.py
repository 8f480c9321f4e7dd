"""What a websocket's halves, its connection and its application's side, know of each other and of what was before."""

import asyncio
import enum
from collections.abc import Sequence
from typing import Any, Protocol

from ws_subprocess.server.doorkeeper import Seat


class Phase(enum.Enum):
    """Where a connection stands; it only moves down this list."""

    HANDSHAKE = enum.auto()
    OPEN = enum.auto()
    CLOSING = enum.auto()
    """Our Close is out and the peer's is awaited; messages are neither handed over nor sent any more."""
    ENDED = enum.auto()
    """Nothing is read or written any more."""


class Listener(Protocol):
    """Who hears from a connection."""

    def on_message(self, message: bytes | str) -> None:
        """A whole message arrived."""

    def on_writable(self) -> None:
        """What was written has drained after `send` said it was too much."""

    def on_disconnect(self, code: int, reason: str) -> None:
        """The connection is over or about to be; called exactly once."""

    def on_lost(self) -> None:
        """The transport is closed; nothing is told any more."""

    def take_messages(self) -> Sequence[bytes | str]:
        """Give away the messages that arrived and were not used, for the direct channel."""


class HttpConnection(Protocol):
    """What is used of the HTTP connection that a websocket was before: uvicorn's, with a seat."""

    seat: Seat
    transport: asyncio.Transport
    app: Any
    loop: asyncio.AbstractEventLoop
    connections: set[Any]
    tasks: set[asyncio.Task[None]]
    app_state: dict[str, Any]
    headers: list[tuple[bytes, bytes]]
    scheme: Any
    server: tuple[str, int | None] | None
    client: tuple[str, int] | None

    @property
    def asgi_version(self) -> str: ...
