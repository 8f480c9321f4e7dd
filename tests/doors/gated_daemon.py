"""A daemon that is asked by everybody at once: static tokens, signed tokens and a controller; and each kind of token
that a client may come with, good or bad.
"""

import base64
import functools
import hashlib
import hmac
import json
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from daemon import NATIVE, Daemon, run_daemon
from knocking import authorization, bearer, protocols

KEY = b"an-hmac-key-of-32-bytes-or-more-0123456789"
AUDIENCE = "terminals.example"
GRANT: dict[str, Any] = {"command": "/bin/true"}
STATIC = "a-static-token-of-32-characters-or-more"
ELSEWHERE = "a-static-token-for-the-door-beside-this"
LAPSED = "a-static-token-that-has-lapsed-long-ago"
Header = tuple[str, str]
# Those that take tokens; a static token says which of them it is for.
DOORS = ("terminal", "process", "commands", "payloads", "rpc")


@dataclass(frozen=True, slots=True)
class Gated:
    """A daemon with all three authorities; `public_key` (PEM) verifies RS256."""

    daemon: Daemon
    public_key: bytes

    def sign(self, key: Any = KEY, algorithm: str = "HS256", **changes: Any) -> str:
        """Return a good signed token with claims, or keys of its header, changed; None takes one out."""
        headers = changes.pop("headers", None)
        now = int(time.time())
        claims = {"aud": AUDIENCE, "sub": "ada", "iat": now, "exp": now + 60, **GRANT, **changes}
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key, algorithm, headers)

    def allow(self, token: str, **more: Any) -> str:
        """Let the controller grant a command to this token."""
        self.daemon.grants[token] = {**GRANT, **more}
        return token


@asynccontextmanager
async def gated_daemon(folder: Path, server: str = "ours", **settings: Any) -> AsyncIterator[Gated]:
    """Run such a daemon, whose own files are in `folder`, until the block ends; `server` is one of `SERVERS`."""
    public_key = _private_key("ours").public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    hmac_key, rsa_key, tokens = folder / "hmac.key", folder / "rsa.pem", folder / "tokens.toml"
    for path, content in ((hmac_key, KEY), (rsa_key, public_key), (tokens, _write_tokens())):
        path.write_bytes(content)
        path.chmod(0o600)
    keys = (f"h1=HS256:file:{hmac_key}", f"r1=RS256:file:{rsa_key}")
    own: dict[str, Any] = {"jwt_keys": keys, "jwt_audience": AUDIENCE, "tokens_file": str(tokens)}
    own |= {"state_dir": str(folder / "state")} | settings
    async with run_daemon(server, **own) as daemon:
        yield Gated(daemon, public_key)


@functools.cache
def _private_key(owner: str) -> RSAPrivateKey:
    """Return the key of somebody; making one takes as long as a whole test."""
    return generate_private_key(65537, 2048)


def _write_tokens() -> bytes:
    entries = []
    for name, token, more in (
        ("good", STATIC, f"doors = {json.dumps(DOORS)}"),
        ("elsewhere", ELSEWHERE, 'doors = ["exec"]'),
        ("lapsed", LAPSED, f"doors = {json.dumps(DOORS)}\nexpires = 2020-01-01"),
    ):
        digest = hashlib.sha256(token.encode()).hexdigest()
        entries.append(f'[[token]]\nname = "{name}"\nhash = "sha256:{digest}"\n{more}\ncommand = "/bin/true"\n')
    return "\n".join(entries).encode()


def unsigned(gated: Gated) -> str:
    """Return a token whose header says that it needs no signature."""
    _, claims, _ = gated.sign().split(".")
    return _encode({"alg": "none", "typ": "JWT"}) + f".{claims}."


def signed_with_the_public_key(gated: Gated) -> str:
    """Return a token that is signed, as HMAC, with the bytes that verify RSA, which everybody may know."""
    _, claims, _ = gated.sign().split(".")
    signing_input = _encode({"alg": "HS256", "typ": "JWT", "kid": "r1"}) + f".{claims}"
    digest = hmac.digest(gated.public_key, signing_input.encode(), "sha256")
    return f"{signing_input}.{base64.urlsafe_b64encode(digest).rstrip(b'=').decode()}"


def forged(gated: Gated) -> str:
    """Return a good token with another command in it."""
    head, claims, signature = gated.sign().split(".")
    fields = json.loads(base64.urlsafe_b64decode(claims + "=="))
    return ".".join([head, _encode(fields | {"command": "/bin/sh"}), signature])


def foreign_key(gated: Gated) -> str:
    """Return a good token of somebody who has an RSA key, and names it ours."""
    return gated.sign(_private_key("theirs"), "RS256", headers={"kid": "r1"})


def _encode(fields: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(fields).encode()).rstrip(b"=").decode()


# Ways to send a token: the target and the headers.
WAYS: dict[str, Callable[[str], tuple[str, list[Header]]]] = {
    "query": lambda token: (f"/ws?token={urllib.parse.quote(token, safe='')}", []),
    "header": lambda token: ("/ws", [authorization(token)]),
    "subprotocol": lambda token: ("/ws", [protocols(NATIVE, bearer(token.encode()))]),
}
