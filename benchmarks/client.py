"""A websocket client so cheap that it measures the server: blocking sockets, header arithmetic, no work per byte.

Law: every wait has a deadline (SO_RCVTIMEO: the kernel's, so that no poll precedes a read), every buffer a bound.
"""

import json
import socket
import struct
from dataclasses import dataclass
from typing import Self

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10

DEADLINE_S = 30
BULK_BUFFER_BYTES = 1 << 20
SMALL_BUFFER_BYTES = 1 << 12
# The example of RFC 6455 section 1.3: one key and its answer, so that the handshake costs no hashing.
HANDSHAKE_KEY = "dGhlIHNhbXBsZSBub25jZQ=="
HANDSHAKE_ANSWER = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


class HandshakeRefusedError(Exception):
    """The server answered the handshake with something other than 101."""


class SessionEndedError(Exception):
    """A session ended where its child had more to say."""


def client_frame(opcode: int, payload: bytes) -> bytes:
    """Build a frame of at most 125 bytes. Its mask is zero: RFC 6455 allows it, and the payload stays as it is."""
    assert len(payload) <= 125
    return bytes((0x80 | opcode, 0x80 | len(payload))) + b"\0\0\0\0" + payload


def frame_header(buffer: bytearray, start: int, have: int) -> tuple[int, int] | None:
    """Return (header bytes, payload bytes) of the server's frame at `start`, or None while its header is incomplete."""
    if have < 2:
        return None
    length = buffer[start + 1]
    if length < 126:
        return 2, length
    if length == 126:
        return (4, struct.unpack_from(">H", buffer, start + 2)[0]) if have >= 4 else None
    return (10, struct.unpack_from(">Q", buffer, start + 2)[0]) if have >= 10 else None


@dataclass(frozen=True)
class Dialect:
    """What one server's messages mean.

    Attributes:
        key: One typed "x", as a whole frame.
        output: Opcode, beginning and end of a message that carries output; between them every byte is the child's
            (who writes letters only, so nothing is escaped).
        subprotocol: What the client offers, None for nothing.
        ack_bytes: Acknowledge after so much output; None where a dialect has no acknowledgements.
    """

    key: bytes
    output: tuple[int, bytes, bytes] = (BINARY, b"", b"")
    subprotocol: str | None = None
    ack_bytes: int | None = None

    def output_bytes(self, opcode: int, payload: memoryview) -> int:
        """Count the child's bytes in a message."""
        output_opcode, before, after = self.output
        if opcode != output_opcode or payload[: len(before)] != before:
            return 0
        if payload[len(payload) - len(after) :] != after:
            raise ValueError(f"output message of {len(payload)} bytes does not end with {after!r}")
        return len(payload) - len(before) - len(after)


RAW = Dialect(key=client_frame(BINARY, b"x"))
# Acknowledges as often as PROTOCOL.md advises.
NATIVE = Dialect(key=client_frame(BINARY, b"x"), subprotocol="ws-subprocess.v1", ack_bytes=128 * 1024)
TERMINADO = Dialect(key=client_frame(TEXT, b'["stdin", "x"]'), output=(TEXT, b'["stdout", "', b'"]'))


class Session:
    """One terminal: a websocket and what its messages mean. Connects and shakes hands when made.

    Raises:
        HandshakeRefusedError: with the server's status line.
        OSError: no connection, or DEADLINE_S passed.
    """

    def __init__(self, port: int, path: str, dialect: Dialect, buffer_bytes: int = SMALL_BUFFER_BYTES) -> None:
        self.output_total = 0
        self._acked = 0
        self._dialect = dialect
        self._buffer = bytearray(buffer_bytes)
        self._view = memoryview(self._buffer)
        self._start = self._end = 0
        self.socket = socket.socket()
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack("ll", DEADLINE_S, 0))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", DEADLINE_S, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            self.socket.connect(("127.0.0.1", port))
            self._shake_hands(port, path)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def press_key(self) -> None:
        """Type one x."""
        self.socket.sendall(self._dialect.key)

    def read(self) -> int:
        """Wait for output; return how many of the child's bytes came, 0 when the session has ended."""
        while (message := self._receive()) is not None:
            opcode, payload = message
            if opcode == PING:
                self.socket.sendall(client_frame(PONG, bytes(payload)))
            elif opcode == CLOSE:
                self.socket.sendall(client_frame(CLOSE, bytes(payload)))
                return 0
            elif count := self._dialect.output_bytes(opcode, payload):
                self.output_total += count
                self._acknowledge()
                return count
        return 0

    def expect_output(self) -> None:
        """Wait for output.

        Raises:
            SessionEndedError: the session ended instead.
        """
        if not self.read():
            raise SessionEndedError(f"{self._dialect}: ended after {self.output_total} bytes of output, more was due")

    def read_to_end(self) -> int:
        """Read until the session has ended; return all of the child's bytes since it began."""
        while self.read():
            pass
        return self.output_total

    def finish(self) -> None:
        """Say goodbye and wait until the server has said it too."""
        try:
            self.socket.sendall(client_frame(CLOSE, b"\x03\xe8"))
            while (message := self._receive()) is not None and message[0] != CLOSE:
                pass
        except (BrokenPipeError, ConnectionResetError):
            return  # the server was faster

    def _shake_hands(self, port: int, path: str) -> None:
        offer = f"Sec-WebSocket-Protocol: {self._dialect.subprotocol}\r\n" if self._dialect.subprotocol else ""
        self.socket.sendall(
            f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {HANDSHAKE_KEY}\r\nSec-WebSocket-Version: 13\r\n{offer}\r\n".encode()
        )
        while (head_end := self._buffer.find(b"\r\n\r\n", 0, self._end)) < 0:
            if not self._fill(self._end + 1):
                break
        head = bytes(self._view[: max(head_end, 0)])
        if not head.startswith(b"HTTP/1.1 101 ") or HANDSHAKE_ANSWER not in head:
            answer = bytes(self._view[: self._end]).partition(b"\r\n")[0].decode("latin-1")
            raise HandshakeRefusedError(f"GET {path} on port {port}: {answer or 'connection closed'}")
        self._start = head_end + 4

    def _receive(self) -> tuple[int, memoryview] | None:
        """Return the next frame's opcode and payload (valid until the next call), None at the end of the connection."""
        if self._start == self._end:
            self._start = self._end = 0
        while True:
            have = self._end - self._start
            header = frame_header(self._buffer, self._start, have)
            if header is not None and have >= sum(header):
                break
            if not self._fill(sum(header) if header else 10):
                return None
        opcode = self._buffer[self._start] & 15
        body = self._start + header[0]
        self._start = body + header[1]
        return opcode, self._view[body : self._start]

    def _fill(self, frame_bytes: int) -> bool:
        """Read once more, making room for a frame of that size; False at the end of the connection."""
        if frame_bytes > len(self._buffer):
            raise ValueError(f"a frame of {frame_bytes} bytes does not fit the buffer of {len(self._buffer)}")
        if self._start + frame_bytes > len(self._buffer):
            remaining = self._end - self._start
            self._view[:remaining] = self._view[self._start : self._end]
            self._start, self._end = 0, remaining
        try:
            count = self.socket.recv_into(self._view[self._end :])
        except ConnectionResetError:
            return False
        self._end += count
        return count > 0

    def _acknowledge(self) -> None:
        every = self._dialect.ack_bytes
        if every is not None and self.output_total - self._acked >= every:
            self._acked = self.output_total
            self.socket.sendall(client_frame(TEXT, json.dumps({"type": "ack", "offset": self._acked}).encode()))
