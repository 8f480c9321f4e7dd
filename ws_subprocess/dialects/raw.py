"""The dialect of no subprotocol: messages are bytes, nothing else. PROTOCOL.md, "Dialect raw". Pure."""

from ws_subprocess.dialects.codec import Message
from ws_subprocess.dialects.events import ClientEvent, Input, ServerEvent


class RawDialect:
    """For wscat and xterm.js's AttachAddon, which decode every message alone."""

    subprotocol: str | None = None
    has_acks = False
    cuts_characters = False

    def decode(self, message: Message) -> ClientEvent:
        """Return the message as input, text as UTF-8."""
        return Input(message.encode() if isinstance(message, str) else message)

    def encode(self, event: ServerEvent) -> str | None:
        """Return None: raw has no words."""
        return None

    def encode_output(self, stream: int, data: bytes) -> bytes:
        """Return the bytes; streams are merged."""
        return data
