"""The dialect `ws-subprocess.v1`: binary messages carry bytes, text messages JSON. PROTOCOL.md. Pure."""

import json
import signal
from collections.abc import Callable
from typing import Any, TypeGuard, assert_never

from ws_subprocess.dialects.codec import Message
from ws_subprocess.dialects.events import (
    SIGNAL_NAMES,
    Ack,
    ClientEvent,
    Eof,
    Error,
    Exit,
    Hello,
    Input,
    Invalid,
    Ping,
    Pong,
    Resize,
    ServerEvent,
    Signal,
)
from ws_subprocess.model import SIZE_MAX, Size

SUBPROTOCOL = "ws-subprocess.v1"
_VERSION = 1
# What JavaScript counts exactly; ids and offsets pass through it.
_INTEGER_MAX = 2**53 - 1


class NativeDialect:
    """One session's codec.

    Args:
        tty: False puts the stream's number before the output of every message.
    """

    subprotocol: str | None = SUBPROTOCOL
    has_acks = True
    cuts_characters = True

    def __init__(self, tty: bool) -> None:
        self._tty = tty

    def decode(self, message: Message) -> ClientEvent:
        """Return what a client's message means; nonsense is `Invalid`."""
        if not isinstance(message, str):
            return Input(message)
        try:
            fields = json.loads(message, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            return Invalid("bad_message", "not JSON")
        if not isinstance(fields, dict):
            return Invalid("bad_message", "not a JSON object")
        kind = fields.get("type")
        if not isinstance(kind, str):
            return Invalid("bad_message", "type: missing or not a string")
        decode = _DECODERS.get(kind)
        if decode is None:
            return Invalid("unknown_message", f"type: {kind[:40]!r} is not one of {', '.join(_DECODERS)}")
        return decode(fields)

    def encode(self, event: ServerEvent) -> str:
        """Return the JSON text of an event, ASCII only: half a surrogate pair in a title stays a valid message."""
        return json.dumps(_build_fields(event), separators=(",", ":"))

    def encode_output(self, stream: int, data: bytes) -> bytes:
        """Return output as it is, or behind its stream's number."""
        return data if self._tty else bytes((stream,)) + data


def _build_fields(event: ServerEvent) -> dict[str, Any]:
    match event:
        case Hello(session, offset, size, tty, role, title):
            return {
                "type": "hello",
                "version": _VERSION,
                "session": session,
                "offset": offset,
                "rows": size.rows,
                "cols": size.cols,
                "tty": tty,
                "role": role,
                "title": title,
            }
        case Exit(status, duration_s, count):
            name = None if status.signal is None else name_signal(status.signal)
            return {
                "type": "exit",
                "code": status.code,
                "signal": name,
                "duration_s": round(duration_s, 3),
                "bytes": count,
            }
        case Error(code, message):
            return {"type": "error", "code": code, "message": message}
        case Pong(id):
            return {"type": "pong"} if id is None else {"type": "pong", "id": id}
        case _:
            assert_never(event)


def name_signal(number: int) -> str:
    """Return a signal's name without SIG, or its number when it has none."""
    try:
        return signal.Signals(number).name.removeprefix("SIG")
    except ValueError:  # Real-time signals between RTMIN and RTMAX have no names of their own.
        return str(number)


def _decode_resize(fields: dict[str, Any]) -> ClientEvent:
    for key in ("rows", "cols"):
        value = fields.get(key)
        if not _is_integer(value) or not 1 <= value <= SIZE_MAX:
            return Invalid("bad_resize", f"{key}: {_show(value)} is not in 1..{SIZE_MAX}")
    return Resize(Size(fields["rows"], fields["cols"]))


def _decode_signal(fields: dict[str, Any]) -> ClientEvent:
    name = fields.get("name")
    if not isinstance(name, str) or name not in SIGNAL_NAMES:
        return Invalid("bad_signal", f"name: {_show(name)} is not one of {' '.join(SIGNAL_NAMES)}")
    return Signal(name)


def _decode_ack(fields: dict[str, Any]) -> ClientEvent:
    offset = fields.get("offset")
    if not _is_integer(offset) or not 0 <= offset <= _INTEGER_MAX:
        return Invalid("bad_ack", f"offset: {_show(offset)} is not in 0..{_INTEGER_MAX}")
    return Ack(offset)


def _decode_id(fields: dict[str, Any], event: type[Ping] | type[Pong]) -> ClientEvent:
    number = fields.get("id")
    if number is not None and not (_is_integer(number) and abs(number) <= _INTEGER_MAX):
        return Invalid("bad_message", f"id: {_show(number)} is not an integer of at most {_INTEGER_MAX}")
    return event(number)


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _show(value: object) -> str:
    """Name a value of a peer in at most 40 characters, as the peer wrote it."""
    if isinstance(value, list | dict):
        # Writing out what is nested may need more stack than reading it did.
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value)
    return text if len(text) <= 40 else text[:39] + "…"


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODERS: dict[str, Callable[[dict[str, Any]], ClientEvent]] = {
    "resize": _decode_resize,
    "signal": _decode_signal,
    "eof": lambda _: Eof(),
    "ack": _decode_ack,
    "ping": lambda fields: _decode_id(fields, Ping),
    "pong": lambda fields: _decode_id(fields, Pong),
}
