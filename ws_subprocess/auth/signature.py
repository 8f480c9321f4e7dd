"""The controller's signature over its answer, bound to the question that it answers. Pure.

Law: PROTOCOL.md, "Signed answers", says the same; tests/vectors/controller_signature.json holds both to it.
"""

import hashlib
import hmac

HEADER = "X-WS-Subprocess-Signature"
KEY_MIN_BYTES = 32
_VERSION = b"v1"


def sign(key: bytes, method: str, asked: bytes, answer: bytes) -> str:
    """Return the value of `HEADER`.

    Args:
        asked: The token, for GET; the body of the question, for POST.
        answer: The body of the answer.
    """
    text = b"\n".join([_VERSION, method.encode("ascii"), hashlib.sha256(asked).hexdigest().encode("ascii"), answer])
    return f"{_VERSION.decode()}={hmac.new(key, text, hashlib.sha256).hexdigest()}"


def is_signed(key: bytes, method: str, asked: bytes, answer: bytes, signature: str) -> bool:
    """Tell whether `signature`, the header's value, is the one that `sign` returns."""
    expected = sign(key, method, asked, answer)
    # Bytes, because strings outside ASCII cannot be compared in constant time.
    return hmac.compare_digest(expected.encode("ascii"), signature.encode("utf-8", "surrogatepass"))
