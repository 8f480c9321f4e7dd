"""The compact form of signed tokens (RFC 7515), read and written. Pure.

Laws: a token has one spelling: what another reader could decode otherwise, or what decodes alike, is refused; nothing
that a header says makes anybody look anywhere but in the keys that are there. Why is told as the error's `reason`.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ws_subprocess.auth.keys import ALGORITHMS, KID_MAX_CHARS, SigningKey
from ws_subprocess.auth.strict_json import parse_json
from ws_subprocess.errors import GateError

# How a JSON object begins in base64url: with a quote, or with white space before it.
_BEGINNINGS = ("eyJ", "eyA", "ewk", "ewo", "ew0")
_COMPACT = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
# Each of them brings the key, or tells where to fetch it.
_KEY_HEADERS = frozenset({"jku", "jwk", "x5u", "x5c"})
_EXTENSIONS = frozenset({"crit", "b64"})


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token's parts, nothing of it verified yet; `kid` is None where it names no key."""

    algorithm: str
    kid: str | None
    claims: Mapping[str, Any] = field(repr=False)
    signed: bytes = field(repr=False)
    signature: bytes = field(repr=False)


def is_signed(token: str) -> bool:
    """Tell whether this is meant as a signed (or encrypted) token, be it a good one or not."""
    return token.startswith(_BEGINNINGS) and "." in token


def parse_token(token: str, wanted_type: str = "") -> SignedToken:
    """Return the parts of `token`.

    Args:
        wanted_type: The `typ` that it must have; "" for JWT or none.

    Raises:
        GateError: `denied`; the reason is `jwt_format`, `jwt_header`, `jwt_crit`, `jwt_type`, `jwt_alg` or `jwt_key`.
    """
    header, claims, signature = decode_token(token)
    _check_header(header, wanted_type)
    return SignedToken(
        algorithm=_read_algorithm(header),
        kid=_read_kid(header),
        claims=claims,
        signed=token.rpartition(".")[0].encode(),
        signature=signature,
    )


def decode_token(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    """Return header, claims and signature as they are written.

    Raises:
        GateError: `denied` for `jwt_format`.
    """
    if not _COMPACT.fullmatch(token):
        raise refuse("jwt_format", "not three parts in base64url without padding")
    header, claims, signature = token.split(".")
    return _decode_object("header", header), _decode_object("claims", claims), _decode("signature", signature)


def build_token(key: SigningKey, claims: Mapping[str, Any], typ: str = "JWT") -> str:
    """Return a token with these claims, signed by `key`."""
    header = {"alg": key.algorithm, "typ": typ} | ({"kid": key.kid} if key.kid else {})
    signed = f"{_encode_object(header)}.{_encode_object(claims)}"
    return f"{signed}.{_encode(key.sign(signed.encode()))}"


def refuse(reason: str, detail: str) -> GateError:
    """Return the error that refuses a token: the client is told the same whatever the reason."""
    return GateError("denied", detail, reason=reason)


def _check_header(header: Mapping[str, Any], wanted_type: str) -> None:
    if found := _KEY_HEADERS & header.keys():
        raise refuse("jwt_header", f"the header brings its own key: {', '.join(sorted(found))}")
    if found := _EXTENSIONS & header.keys():
        raise refuse("jwt_crit", f"the header asks for extensions: {', '.join(sorted(found))}")
    given = header.get("typ", "" if wanted_type else "JWT")
    if not isinstance(given, str) or _normalize_type(given) != _normalize_type(wanted_type or "JWT"):
        raise refuse("jwt_type", f"typ: not {wanted_type or 'JWT'}")


def _normalize_type(text: str) -> str:
    # A media type, whose case and first half may be left out (RFC 7515, 4.1.9).
    return text.lower().removeprefix("application/")


def _read_algorithm(header: Mapping[str, Any]) -> str:
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise refuse("jwt_alg", f"alg: none of {', '.join(sorted(ALGORITHMS))}")
    return algorithm


def _read_kid(header: Mapping[str, Any]) -> str | None:
    if "kid" not in header:
        return None
    kid = header["kid"]
    if not isinstance(kid, str) or not 1 <= len(kid) <= KID_MAX_CHARS:
        raise refuse("jwt_key", f"kid: not a string of 1 to {KID_MAX_CHARS} characters")
    return kid


def _decode_object(name: str, text: str) -> dict[str, Any]:
    try:
        fields = parse_json(_decode(name, text))
    except ValueError as exc:
        raise refuse("jwt_format", f"{name}: no JSON ({exc})") from exc
    if not isinstance(fields, dict):
        raise refuse("jwt_format", f"{name}: a JSON {type(fields).__name__}, not an object")
    return fields


def _decode(name: str, text: str) -> bytes:
    try:
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except binascii.Error as exc:
        raise refuse("jwt_format", f"{name}: no base64url") from exc
    # The last letter may carry bits that mean nothing: the same token would have several spellings.
    if _encode(data) != text:
        raise refuse("jwt_format", f"{name}: base64url with bits that mean nothing")
    return data


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _encode_object(fields: Mapping[str, Any]) -> str:
    return _encode(json.dumps(fields, separators=(",", ":"), allow_nan=False).encode())
