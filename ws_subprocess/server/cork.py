"""Sends the head of an answer together with its first bytes: one system call, one packet, one wake-up of the client.

Law: nothing is held longer than until the event loop's next turn, and nothing is overtaken.
"""

import asyncio
from typing import Any


class CorkedTransport:
    """What an answer with a body is written to: its head waits for what follows, if that comes at once."""

    __slots__ = ("_held", "_holds_next", "_transport")

    def __init__(self, transport: Any, has_body: bool) -> None:
        self._transport = transport
        self._held = b""
        self._holds_next = has_body

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)

    def write(self, data: bytes) -> None:
        """Send `data` after what was held."""
        if self._holds_next:
            self._holds_next = False
            self._held = data
            asyncio.get_running_loop().call_soon(self.flush)
        elif self._held:
            held, self._held = self._held, b""
            self._transport.writelines((held, data))
        else:
            self._transport.write(data)

    def flush(self) -> None:
        """Send what is held now, to a client that is still there."""
        held, self._held = self._held, b""
        if held and not self._transport.is_closing():
            self._transport.write(held)

    def close(self) -> None:
        """Close the connection when everything is sent."""
        self.flush()
        self._transport.close()
