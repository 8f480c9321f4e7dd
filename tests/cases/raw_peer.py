"""A peer that sends the very bytes it is told to, good or not, without holding up the daemon beside it."""

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from daemon import WAIT_S, Reply, read_reply
from running_server import CLOSE, PING, handshake


async def exchange(port: int, data: bytes) -> Reply:
    """Send bytes and return the answer to them."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        async with asyncio.timeout(WAIT_S):
            # Who refuses early may have cut the connection before all was sent; its answer is there all the same.
            with contextlib.suppress(ConnectionError):
                writer.write(data)
                await writer.drain()
            return await read_reply(reader)
    finally:
        writer.close()


@dataclass(slots=True)
class RawPeer:
    """A websocket as bare as a socket."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    upgraded: Reply

    async def send(self, data: bytes) -> None:
        """Send frames, or anything; a daemon that has had enough may have cut the connection."""
        with contextlib.suppress(ConnectionError):
            self.writer.write(data)
            await self.writer.drain()

    async def read(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload. Raises asyncio.IncompleteReadError at the end."""
        async with asyncio.timeout(WAIT_S):
            head, length = await self.reader.readexactly(2)
            if length == 126:
                (length,) = struct.unpack("!H", await self.reader.readexactly(2))
            elif length == 127:
                (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
            return head & 0x7F, await self.reader.readexactly(length)

    async def read_output(self, size: int) -> bytes:
        """Return the next `size` bytes of messages."""
        output = b""
        while len(output) < size:
            opcode, payload = await self.read()
            assert opcode != CLOSE, payload
            output += payload if opcode != PING else b""
        return output

    async def read_close(self) -> tuple[int, str]:
        """Return code and reason of the Close, whatever comes before it."""
        opcode, payload = await self.read()
        while opcode != CLOSE:
            opcode, payload = await self.read()
        return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


@asynccontextmanager
async def raw_peer(port: int, path: str, early: bytes = b"", extra: str = "") -> AsyncIterator[RawPeer]:
    """Open a websocket and cut it at the end; `early` is sent in the same packet as the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(handshake(path, extra) + early)
        async with asyncio.timeout(WAIT_S):
            reply = await read_reply(reader)
        assert reply.status == 101, reply
        yield RawPeer(reader, writer, reply)
    finally:
        writer.transport.abort()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
