"""Keys and tokens, good ones and forged ones."""

import base64
import json
from collections.abc import Mapping
from functools import cache
from typing import Any

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

from ws_subprocess.auth.claims import ClaimRules
from ws_subprocess.auth.jwks import PublishedKeys
from ws_subprocess.auth.key_ring import KeyRing
from ws_subprocess.auth.keys import SigningKey, load_signing_key
from ws_subprocess.auth.signed import SignedTokens
from ws_subprocess.process.environ import is_refused

NOW = 1_800_000_000
AUDIENCE = "terminals"
SECRET = b"0123456789abcdef" * 4
RULES = ClaimRules(AUDIENCE, leeway_s=60.0)

_MAKERS: dict[str, Any] = {
    "rsa": lambda: rsa.generate_private_key(65537, 2048),
    "rsa-1024": lambda: rsa.generate_private_key(65537, 1024),
    "P-256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    "P-521": lambda: ec.generate_private_key(ec.SECP521R1()),
    "secp256k1": lambda: ec.generate_private_key(ec.SECP256K1()),
    "ed25519": ed25519.Ed25519PrivateKey.generate,
    "ed448": ed448.Ed448PrivateKey.generate,
    "dsa": lambda: dsa.generate_private_key(2048),
}
KINDS = {
    "HS256": "secret",
    "HS384": "secret",
    "HS512": "secret",
    "RS256": "rsa",
    "RS384": "rsa",
    "RS512": "rsa",
    "PS256": "rsa",
    "PS384": "rsa",
    "PS512": "rsa",
    "ES256": "P-256",
    "ES384": "P-384",
    "ES512": "P-521",
    "EdDSA": "ed25519",
}


@cache
def make_private(kind: str) -> Any:
    return _MAKERS[kind]()


def private_pem(kind: str) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    pem: bytes = make_private(kind).private_bytes(encoding, form, serialization.NoEncryption())
    return pem


def public_pem(kind: str) -> bytes:
    encoding, form = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = make_private(kind).public_key().public_bytes(encoding, form)
    return pem


def signing_key(algorithm: str = "HS256", kid: str = "") -> SigningKey:
    kind = KINDS[algorithm]
    return load_signing_key(SECRET if kind == "secret" else private_pem(kind), algorithm, kid)


def good_claims(**changes: Any) -> dict[str, Any]:
    """Return claims of a good token; `...` leaves one out."""
    claims = {"aud": AUDIENCE, "iat": NOW, "exp": NOW + 60, "command": "/bin/true"} | changes
    return {name: value for name, value in claims.items() if value is not ...}


def encode(part: Mapping[str, Any] | bytes) -> str:
    data = part if isinstance(part, bytes) else json.dumps(part, separators=(",", ":")).encode()
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forge(
    header: Mapping[str, Any] | bytes | None = None,
    claims: Mapping[str, Any] | bytes | None = None,
    key: SigningKey | None = None,
) -> str:
    """Return a token with exactly this header and these claims, whatever they are, well signed."""
    key = key or signing_key()
    fields = {"alg": key.algorithm, "typ": "JWT"} if header is None else header
    signed = f"{encode(fields)}.{encode(good_claims() if claims is None else claims)}"
    return f"{signed}.{encode(key.sign(signed.encode()))}"


def authority(
    *keys: SigningKey,
    published: PublishedKeys | None = None,
    rules: ClaimRules = RULES,
    now: float = NOW,
    **options: Any,
) -> SignedTokens:
    """Return an authority that believes these keys, the usual secret if none is named, and whose clock stands."""
    ring = KeyRing(key.get_verifying() for key in (keys if keys or published else (signing_key(),)))
    return SignedTokens(ring, published, rules, is_refused, clock=lambda: now, **options)
