"""Signed tokens as an attacker makes them: any bytes as header and claims, with a signature that fits."""

import base64
import hmac
import json
import time
from typing import Any

SECRET = b"a secret of at least thirty-two bytes, or even of sixty-four, is fine"
AUDIENCE = "terminal"
HEADER = {"alg": "HS256", "typ": "JWT"}


def encode(data: bytes) -> str:
    """Return base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def sign(header: bytes, claims: bytes, digest: str = "sha256", secret: bytes = SECRET) -> str:
    """Return a token of these very bytes."""
    signed = f"{encode(header)}.{encode(claims)}"
    return f"{signed}.{encode(hmac.digest(secret, signed.encode(), digest))}"


def build_claims(**changes: Any) -> dict[str, Any]:
    """Return claims that run `true`, with changes; `...` leaves a claim out."""
    now = int(time.time())
    claims = {"aud": AUDIENCE, "iat": now, "exp": now + 60, "sub": "somebody", "command": "/bin/true", **changes}
    return {key: value for key, value in claims.items() if value is not ...}


def build_token(header: dict[str, Any] | None = None, digest: str = "sha256", **changes: Any) -> str:
    """Return a good token, with changes of its header and claims."""
    fields = {key: value for key, value in {**HEADER, **(header or {})}.items() if value is not ...}
    return sign(json.dumps(fields).encode(), json.dumps(build_claims(**changes)).encode(), digest)


def build_raw(**raw: str) -> str:
    """Return a token whose claims have these texts as they are, JSON or not."""
    claims = json.dumps(build_claims(**dict.fromkeys(raw, ...)))
    pairs = "".join(f', "{key}": {text}' for key, text in raw.items())
    return sign(json.dumps(HEADER).encode(), (claims[:-1] + pairs + "}").encode())
