"""What every dialect offers: bytes of one client's language to and from events. Pure."""

from typing import Protocol

from ws_subprocess.dialects.events import ClientEvent, ServerEvent

Message = bytes | str


class Dialect(Protocol):
    """One client's language, for one session.

    Attributes:
        subprotocol: What the handshake answers, None when nothing was offered.
        has_acks: The client acknowledges output, so that sending may wait for it.
        cuts_characters: False when a message must not end inside a UTF-8 character if that can be avoided.
    """

    subprotocol: str | None
    has_acks: bool
    cuts_characters: bool

    def decode(self, message: Message) -> ClientEvent:
        """Return what a client's message means; never raises, nonsense is `Invalid`."""
        ...

    def encode(self, event: ServerEvent) -> str | None:
        """Return the message for an event, None when the dialect has no word for it."""
        ...

    def encode_output(self, stream: int, data: bytes) -> bytes:
        """Return the message that carries output of one stream."""
        ...


def count_cut_bytes(data: bytes) -> int:
    """Return how many bytes at the end belong to a UTF-8 character whose rest is missing, 0..3."""
    for count in range(1, min(3, len(data)) + 1):
        byte = data[-count]
        if byte < 0x80:
            return 0
        if byte >= 0xC0:  # A lead byte: 2, 3 or 4 bytes in all.
            wanted = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return count if count < wanted and byte < 0xF8 else 0
    return 0
