"""A client of both dialects that keeps all it hears and checks that nothing is said twice, too late or in between."""

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from daemon_process import send_json
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

ACK_BYTES = 128 * 1024
# For a whole conversation; a flood on a busy machine takes some.
WAIT_S = 60.0


@dataclass(slots=True)
class Heard:
    """Everything a session said.

    Attributes:
        streams: Output by stream: 1 stdout (and all of a terminal), 2 stderr.
        errors: Codes of the error messages.
        exit: The exit message.
        close_code: How the websocket was closed; 1006 when it was not, but cut.
    """

    hello: dict[str, Any] = field(default_factory=dict)
    streams: dict[int, bytearray] = field(default_factory=lambda: {1: bytearray(), 2: bytearray()})
    errors: list[str] = field(default_factory=list)
    exit: dict[str, Any] = field(default_factory=dict)
    close_code: int = 0

    @property
    def output(self) -> bytes:
        """The terminal's output, or stdout."""
        return bytes(self.streams[1])

    @property
    def size(self) -> int:
        """Bytes of output, both streams together: the offset."""
        return sum(map(len, self.streams.values()))

    @property
    def ending(self) -> tuple[int | None, str | None]:
        """Exit code and signal's name."""
        return self.exit["code"], self.exit["signal"]

    def take(self, message: str | bytes) -> None:
        """Note one message of the native dialect."""
        assert not self.exit, f"a message after the exit: {message!r}"
        if isinstance(message, bytes):
            assert self.hello, "output before the hello"
            stream, data = (1, message) if self.hello["tty"] else (message[0], message[1:])
            self.streams[stream] += data
            return
        fields = json.loads(message)
        match fields["type"]:
            case "hello":
                assert not self.hello, "two hellos"
                self.hello = fields
            case "exit":
                self.exit = fields
            case "error":
                self.errors.append(fields["code"])
            case kind:
                assert kind == "pong", kind


async def acknowledge(websocket: ClientConnection, offset: int) -> None:
    """Say that all output before `offset` was dealt with.

    The daemon may have closed already; what it said before is still to be received.
    """
    with suppress(ConnectionClosed):
        await send_json(websocket, type="ack", offset=offset)


async def hear_until(websocket: ClientConnection, wanted: bytes, heard: Heard | None = None) -> Heard:
    """Note what comes until stdout has `wanted`; all is acknowledged."""
    heard = heard or Heard()
    async with asyncio.timeout(WAIT_S):
        while wanted not in heard.streams[1]:
            heard.take(await websocket.recv())
            await acknowledge(websocket, heard.size)
    return heard


async def hear_bytes(websocket: ClientConnection, size: int, heard: Heard | None = None) -> Heard:
    """Note what comes until there are `size` bytes of output; nothing is acknowledged."""
    heard = heard or Heard()
    async with asyncio.timeout(WAIT_S):
        while heard.size < size:
            heard.take(await websocket.recv())
    return heard


async def hear_all(websocket: ClientConnection, heard: Heard | None = None) -> Heard:
    """Note what comes until the websocket is closed; acknowledges as often as PROTOCOL.md advises."""
    heard = heard or Heard()
    acknowledged = heard.size
    async with asyncio.timeout(WAIT_S):
        async for message in messages(websocket):
            heard.take(message)
            if heard.size - acknowledged >= ACK_BYTES:
                acknowledged = heard.size
                await acknowledge(websocket, acknowledged)
    assert websocket.close_code is not None
    heard.close_code = websocket.close_code
    return heard


def reset_connection(websocket: ClientConnection) -> None:
    """Vanish with a TCP reset, whatever is on its way."""
    transport = websocket.transport
    transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()


async def messages(websocket: ClientConnection) -> AsyncIterator[str | bytes]:
    """Yield what comes until the websocket is closed, in whatever way."""
    with suppress(ConnectionClosed):
        while True:
            yield await websocket.recv()
