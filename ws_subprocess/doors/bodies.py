"""Request bodies, read once, within a bound and a deadline.

Laws: what a request declares is judged before a byte of it is read; a body that does not declare its length is read up
to the bound and no further; nothing is decompressed. A body is read before anybody is asked whose it is, so all that
are being read have one bound together.
"""

import asyncio
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import Headers
from starlette.requests import Request

from ws_subprocess.auth.strict_json import DEPTH_MAX, VALUES_MAX, parse_json
from ws_subprocess.errors import CapacityError, RequestError

_JSON_TYPE = re.compile(r"application/(?:[a-z0-9!#$&^_.-]+\+)?json", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]+")


ROOM_BYTES = 64 * 1024 * 1024
# Who fills the room must not keep out the many that need little.
_SMALL_BYTES = 16 * 1024
_RETRY_AFTER_S = 5


class BodyRoom:
    """Memory for all bodies that are being read; one of up to 16 KiB is taken even when the room is full."""

    def __init__(self, most_bytes: int = ROOM_BYTES) -> None:
        self._most_bytes = most_bytes
        self._held_bytes = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Yield what is to be told how large one body is by now; it raises CapacityError when there is no room."""
        held = 0

        def grow(size: int) -> None:
            nonlocal held
            if size > _SMALL_BYTES and self._held_bytes - held + size > self._most_bytes:
                raise CapacityError("no_resources", "too many large bodies are being sent", _RETRY_AFTER_S)
            self._held_bytes += size - held
            held = size

        try:
            yield grow
        finally:
            self._held_bytes -= held


@dataclass(frozen=True, slots=True)
class BodyLimits:
    """Largest body of a request, how long a client may take to send it, and the room for all of them."""

    max_bytes: int
    timeout_s: float
    room: BodyRoom = field(default_factory=BodyRoom)


async def read_json(request: Request, limits: BodyLimits) -> Any:
    """Return what a JSON body says; its Content-Type must say JSON, too.

    A page of a foreign site can send other types than JSON without asking (CORS, "simple request").

    Raises:
        RequestError: `unsupported_media_type`, `bad_json`, or what `read_body` raises.
        ClientDisconnect: The client left first.
    """
    require_json(request.headers)
    return parse_body(await read_body(request, limits))


async def read_body(request: Request, limits: BodyLimits) -> bytes:
    """Return the whole body, whatever its type.

    Raises:
        RequestError: `unsupported_encoding`, `too_big` or `request_timeout`.
        CapacityError: `no_resources`: others send too much just now.
        ClientDisconnect: The client left first.
    """
    check_declared(request.headers, limits.max_bytes)
    body = bytearray()
    try:
        with limits.room.hold() as grow:
            async with asyncio.timeout(limits.timeout_s):
                async for part in request.stream():
                    if len(body) + len(part) > limits.max_bytes:
                        raise build_too_big(limits.max_bytes)
                    grow(len(body) + len(part))
                    body += part
    except TimeoutError as exc:
        raise RequestError("request_timeout", f"the body did not end within {limits.timeout_s:g} s") from exc
    return bytes(body)


def parse_body(body: bytes) -> Any:
    """Return what a JSON body says.

    Raises:
        RequestError: `bad_json`; what the body holds is not in its detail, for it may be a secret.
    """
    try:
        return parse_json(body)
    except ValueError as exc:
        most = f"at most {VALUES_MAX} values, nested at most {DEPTH_MAX} deep"
        detail = f"not one JSON text in UTF-8, with each key once and without NaN; {most}"
        raise RequestError("bad_json", detail) from exc


def check_declared(headers: Headers, max_bytes: int) -> None:
    """Pass a body that is to be read: in no encoding, and not too long by its own account.

    Raises:
        RequestError: `unsupported_encoding` or `too_big`.
    """
    check_encoding(headers)
    length = headers.get("content-length", "")
    if _LENGTH.fullmatch(length) and (len(length) > 18 or int(length) > max_bytes):
        raise build_too_big(max_bytes)


def check_encoding(headers: Headers) -> None:
    """Pass a body that is sent as it is.

    Raises:
        RequestError: `unsupported_encoding`.
    """
    for value in headers.getlist("content-encoding"):
        if value.strip().lower() not in ("", "identity"):
            raise RequestError("unsupported_encoding", f"Content-Encoding: {value[:40]!a}: send the body as it is")


def require_json(headers: Headers) -> None:
    """Pass a request whose Content-Type is `application/json`, or another that ends in `+json`.

    Raises:
        RequestError: `unsupported_media_type`.
    """
    if not is_json(headers):
        given = get_media_type(headers) or "none"
        raise RequestError("unsupported_media_type", f"Content-Type: {given[:80]!a}: send application/json")


def is_json(headers: Headers) -> bool:
    """Tell whether the body claims to be JSON."""
    return _JSON_TYPE.fullmatch(get_media_type(headers)) is not None


def get_media_type(headers: Headers) -> str:
    """Return the body's type in lower case without its parameters, "" when none or more than one is given."""
    values = headers.getlist("content-type")
    return values[0].partition(";")[0].strip().lower() if len(values) == 1 else ""


def build_too_big(max_bytes: int) -> RequestError:
    """Return the error for a body beyond its bound."""
    return RequestError("too_big", f"body: more than {max_bytes} bytes")
