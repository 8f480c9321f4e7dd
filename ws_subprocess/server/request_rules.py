"""What a request's head must look like before any application sees it. Pure.

Law: a request that is refused here has cost nobody a token.
"""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus

MAX_HEAD_BYTES = 16 * 1024
MAX_HEADER_LINES = 128

Headers = Sequence[tuple[bytes, bytes]]

_CONTROL = re.compile(rb"[\x00-\x08\x0a-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer that this server gives by itself; the connection ends with it."""

    status: HTTPStatus
    text: str
    headers: tuple[tuple[str, str], ...] = ()

    def serialize(self) -> bytes:
        """Return the whole HTTP/1.1 response."""
        body = self.text.encode()
        lines = [
            f"HTTP/1.1 {self.status.value} {self.status.phrase}",
            "content-type: text/plain; charset=utf-8",
            f"content-length: {len(body)}",
            "connection: close",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "\r\n".join([*lines, "", ""]).encode("ascii") + body


BAD_REQUEST = Refusal(HTTPStatus.BAD_REQUEST, "Bad request")
HEAD_TOO_LARGE = Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "Request Header Fields Too Large")
TARGET_TOO_LONG = Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "URI Too Long")


def wants_websocket(headers: Headers) -> bool:
    """Tell whether a request asks to become a websocket (names in lower case)."""
    return b"upgrade" in _tokens(headers, b"connection") and b"websocket" in _tokens(headers, b"upgrade")


def find_refusal(method: bytes, target: bytes, http_version: str, headers: Headers) -> Refusal | None:
    """Return why a request cannot be served, None when it can.

    Args:
        target: The request line's second word, as it was sent.
        http_version: `1.0` or `1.1`.
        headers: In the order they were sent, names in lower case.
    """
    if method == b"CONNECT":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", (("allow", "GET, HEAD"),))
    # Absolute and authority form name a host of their own, which the Host check would never see.
    if not target.startswith(b"/") or not target.isascii() or b"#" in target:
        return _bad("Bad request target")
    if any(_CONTROL.search(value) for _, value in headers):
        # httptools refuses them itself; h11 only some.
        return _bad("Control character in a header")
    for name in (b"host", b"origin", b"sec-websocket-key", b"sec-websocket-version"):
        if len(_values(headers, name)) > 1:
            return _bad("Duplicate header")
    if http_version == "1.1" and not _values(headers, b"host"):
        return _bad("Host header missing")
    lengths, codings = _values(headers, b"content-length"), _values(headers, b"transfer-encoding")
    if lengths and codings:
        # RFC 9112, section 6.3: two opinions about where a request ends are how requests are smuggled.
        return _bad("Content-Length beside Transfer-Encoding")
    if codings and [coding.lower() for coding in codings] != [b"chunked"]:
        return _bad("Transfer-Encoding: other than chunked")
    has_body = bool(codings) or any(length.strip(b"0") for length in lengths)
    if wants_websocket(headers):
        return _find_handshake_refusal(method, http_version, headers, has_body=has_body)
    if has_body and method in (b"GET", b"HEAD"):
        # It would mean nothing (RFC 9110, section 9.3.1), and be read for as long as it comes.
        return _bad("A GET request has no body")
    return None


def _find_handshake_refusal(method: bytes, http_version: str, headers: Headers, *, has_body: bool) -> Refusal | None:
    if http_version != "1.1":
        return Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "HTTP Version Not Supported")
    if method != b"GET":
        return Refusal(HTTPStatus.METHOD_NOT_ALLOWED, "Method Not Allowed", (("allow", "GET"),))
    if has_body:
        return _bad("A websocket handshake has no body")
    if _values(headers, b"sec-websocket-version") != [b"13"]:
        # RFC 6455, section 4.4: name the versions there are.
        text, answer = "Unsupported WebSocket version", (("sec-websocket-version", "13"), ("upgrade", "websocket"))
        return Refusal(HTTPStatus.UPGRADE_REQUIRED, text, answer)
    if not _is_key(_values(headers, b"sec-websocket-key")):
        return _bad("Invalid Sec-WebSocket-Key")
    return None


def _is_key(values: list[bytes]) -> bool:
    """Tell whether this is one value of 16 bytes in base64 (RFC 6455, section 4.1)."""
    try:
        return len(values) == 1 and len(base64.b64decode(values[0], validate=True)) == 16
    except binascii.Error:
        return False


def _values(headers: Headers, wanted: bytes) -> list[bytes]:
    return [value.strip() for name, value in headers if name == wanted]


def _tokens(headers: Headers, name: bytes) -> set[bytes]:
    return {token.strip().lower() for value in _values(headers, name) for token in value.split(b",")}


def _bad(text: str) -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, text)
