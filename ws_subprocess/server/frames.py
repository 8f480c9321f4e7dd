"""Messages to frames and frames to messages (RFC 6455, section 5). Pure.

Reading the wire and its rules is left to the `websockets` package; this joins what it read, and writes the one kind of
frame that a server sends a thousand times a second.
"""

import struct

from websockets.frames import Frame, Opcode

MAX_FRAGMENTS = 1024

_FIN = 0x80
_SHORT = struct.Struct("!BB")
_MEDIUM = struct.Struct("!BBH")
_LONG = struct.Struct("!BBQ")


class TooManyFragmentsError(Exception):
    """A message came in more frames than any honest client makes; empty ones would pass every limit in bytes."""


def encode(opcode: Opcode, payload: bytes | bytearray | memoryview) -> bytes:
    """Return one whole, unmasked frame without extensions."""
    length = len(payload)
    if length < 126:
        header = _SHORT.pack(_FIN | opcode, length)
    elif length < 65536:
        header = _MEDIUM.pack(_FIN | opcode, 126, length)
    else:
        header = _LONG.pack(_FIN | opcode, 127, length)
    return b"".join((header, payload))


class Assembler:
    """Joins the frames of a message; the parser has seen to their order and to their length in all."""

    __slots__ = ("_is_text", "_parts")

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._is_text = False

    def add(self, frame: Frame) -> bytes | str | None:
        """Return the message that `frame` completes, None when there is more to come.

        Raises:
            TooManyFragmentsError: There is no end to it.
            UnicodeDecodeError: It is text but not UTF-8.
        """
        if frame.opcode is not Opcode.CONT:
            self._is_text = frame.opcode is Opcode.TEXT
        self._parts.append(bytes(frame.data))
        if len(self._parts) > MAX_FRAGMENTS:
            raise TooManyFragmentsError
        if not frame.fin:
            return None
        message = b"".join(self._parts)
        self._parts.clear()
        return message.decode() if self._is_text else message
