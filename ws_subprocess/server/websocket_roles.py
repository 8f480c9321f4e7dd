"""What the two halves of a websocket, its connection and its application's side, know of each other."""

import enum
from collections.abc import Sequence
from typing import Protocol


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
