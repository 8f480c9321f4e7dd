"""Signed answers: with a key that the daemon has too, nobody between the two can make up a grant."""

import hashlib
import hmac
from pathlib import Path

HEADER = "X-WS-Subprocess-Signature"
KEY_MIN_BYTES = 32


class KeyFileError(Exception):
    """A key cannot be used; the text names the file, the reason and the way out."""


def sign(key: bytes, method: str, asked: bytes, answer: bytes) -> str:
    """Return the value of `HEADER`; `asked` is the token, for GET, or the question's body, for POST."""
    text = b"\n".join([b"v1", method.encode(), hashlib.sha256(asked).hexdigest().encode(), answer])
    return "v1=" + hmac.new(key, text, hashlib.sha256).hexdigest()


def read_key(path: Path) -> bytes:
    """Return the key in the file, of a line of text without the newline at its end.

    Raises:
        KeyFileError: It cannot be read or is too short.
    """
    try:
        content = path.read_bytes()
        key = content.removesuffix(b"\n").removesuffix(b"\r")
        if not key.decode("utf-8", "surrogateescape").isprintable():
            key = content  # Random bytes, the last of which may happen to look like a newline.
    except OSError as exc:
        raise KeyFileError(f"{path}: {exc.strerror}; make a key with `openssl rand -hex 32 > FILE`") from exc
    if len(key) < KEY_MIN_BYTES:
        text = f"{path}: {len(key)} bytes, at least {KEY_MIN_BYTES}; make a key with `openssl rand -hex 32 > FILE`"
        raise KeyFileError(text)
    return key
