"""Tokens and files that are almost good: no other spelling of a signed token counts, no changed one, and a file of
tokens or settings that is broken is refused as a whole and in words.
"""

import asyncio
import base64
import hashlib
import json
import string
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fuzzing import ODD, dice, mutate, numbers, replayable

from ws_subprocess.auth.claims import ClaimRules
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.auth.jws import build_token
from ws_subprocess.auth.key_ring import KeyRing
from ws_subprocess.auth.keys import SigningKey, load_signing_key
from ws_subprocess.auth.signed import SignedTokens
from ws_subprocess.auth.tokens_file import read_tokens, show_hash
from ws_subprocess.config.load import load
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.settings import SETTINGS, Settings
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest
from ws_subprocess.process.environ import is_refused

NOW_S = 1_800_000_000
CLAIMS = {"aud": "here", "iat": NOW_S, "exp": NOW_S + 60, "sub": "ada", "jti": "1", "command": "/bin/true"}
REQUEST = LaunchRequest("terminal", "127.0.0.1")
BASE64URL = string.ascii_letters + string.digits + "-_"


def make_keys() -> dict[str, SigningKey]:
    """Return a key for one algorithm of each family."""
    private: dict[str, Any] = {
        "ES256": ec.generate_private_key(ec.SECP256R1()),
        "EdDSA": ed25519.Ed25519PrivateKey.generate(),
        "RS256": rsa.generate_private_key(65537, 2048),
    }
    pems = {name: key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) for name, key in private.items()}
    pems["HS256"] = b"an-hmac-key-of-32-bytes-or-more-0123456789"
    return {name: load_signing_key(pem, name, kid=name.lower()) for name, pem in pems.items()}


@pytest.fixture(scope="module")
def keys() -> dict[str, SigningKey]:
    return make_keys()


def build_authority(keys: dict[str, SigningKey]) -> SignedTokens:
    ring = KeyRing(key.get_verifying() for key in keys.values())
    return SignedTokens(ring, None, ClaimRules("here"), is_refused, clock=lambda: NOW_S + 1)


async def ask(authority: SignedTokens, token: str) -> ParsedGrant | None:
    """Return what a token grants; None when it grants nothing, be it refused or for others to decide."""
    try:
        return await authority.ask(Credentials(token), REQUEST)
    except GateError as refusal:
        code = refusal.code
    assert code == "denied"
    return None


@pytest.mark.parametrize("algorithm", ["HS256", "ES256", "EdDSA", "RS256"])
async def test_a_signed_token_has_one_spelling(keys: dict[str, SigningKey], algorithm: str) -> None:
    authority = build_authority(keys)
    token = build_token(keys[algorithm], CLAIMS)
    assert await ask(authority, token) is not None

    granted = [other for other in spell_otherwise(token) if await ask(authority, other) is not None]

    assert granted == []


def spell_otherwise(token: str) -> Iterator[str]:
    """Yield what a careless decoder takes for the same token: other last letters, padding, other ends."""
    parts = token.split(".")
    for index, part in enumerate(parts):
        for letter in BASE64URL + "+/=":
            if letter != part[-1]:
                yield ".".join([*parts[:index], part[:-1] + letter, *parts[index + 1 :]])
        for end in ("=", "==", "A", "\n", " ", "%3D"):
            yield ".".join([*parts[:index], part + end, *parts[index + 1 :]])
    yield from (f" {token}", f"{token}.", f".{token}", f"{token}\n", f"{token}.{parts[2]}", token.replace(".", ".."))
    yield from (f"Bearer {token}", token + "\0", "\ufeff" + token, token.swapcase())


async def test_no_changed_token_is_granted(keys: dict[str, SigningKey]) -> None:
    authority = build_authority(keys)
    tokens = [build_token(key, CLAIMS) for key in keys.values()]
    assert all([await ask(authority, token) for token in tokens])

    for batch in numbers(share=0.075, batch=1000):
        for number in batch:
            rng = dice("token", number)
            token = change(rng, tokens)
            with replayable(f"token {token!r}", [number]):
                assert token in tokens or await ask(authority, token) is None
        await asyncio.sleep(0)


def change(rng: Random, tokens: list[str]) -> str:
    """Return a token changed in its text, in what its parts say, or put together from two."""
    parts = rng.choice(tokens).split(".")
    match rng.randrange(4):
        case 0:
            parts[rng.randrange(3)] = rng.choice(tokens).split(".")[rng.randrange(3)]
        case 1:
            index = rng.randrange(2)
            parts[index] = encode(mutate(rng, decode(parts[index])))
        case 2:
            fields = json.loads(decode(parts[0]))
            fields[rng.choice(("alg", "kid", "typ", "crit", "jku", "x"))] = rng.choice(
                ("none", "HS256", "RS256", "ES256", "EdDSA", "hs256", "", None, 0, [], {}, "JWT", "../../dev/null")
            )
            parts[0] = encode(json.dumps(fields).encode())
        case _:
            return mutate(rng, ".".join(parts).encode()).decode(errors="replace")
    return ".".join(parts)


def decode(part: str) -> bytes:
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))


def encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


# Files.

TOKENS_FILE = (
    f'[[token]]\nname = "ci"\nhash = "{show_hash("x" * 32)}"\ndoors = ["terminal"]\nexpires = 2099-01-01T00:00:00Z\n'
    'command = "/bin/true"\nargs = ["-l"]\nenv = {LAB = "7"}\n\n[[token]]\nname = "ops"\n'
    f'hash = "{show_hash("y" * 32)}"\ndoors = ["exec", "terminal"]\n'
    'allow = [{door = "exec", command = "/usr/bin/"}]\n'
).encode()


def test_a_changed_file_of_tokens_has_good_entries_or_is_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    known = {hashlib.sha256(name * 32).digest() for name in (b"x", b"y")}
    path.write_bytes(TOKENS_FILE)
    assert read_tokens(str(path), is_refused).tokens.keys() == known

    for batch in numbers(share=0.025, batch=1000):
        for number in batch:
            content = mutate(dice("tokens file", number), TOKENS_FILE)
            path.write_bytes(content)
            with replayable(f"tokens file {content!r}", [number]):
                reading = read_tokens(str(path), is_refused)
                assert not (reading.tokens and reading.problems)
                for token in reading.tokens.values():
                    assert token.name
                    assert token.doors
                    assert token.fields.get("command") or token.allow
                assert all(text.isprintable() for text in reading.problems), reading.problems


SETTINGS_FILE = (
    b'listen = ["127.0.0.1:8866"]\ncontroller_url = "http://127.0.0.1:8000/ws"\ncontroller_timeout_s = "5s"\n'
    b'allow_origins = ["https://lab.example:8443"]\ntrusted_proxies = ["10.0.0.0/8"]\nmax_sessions = 100\n'
    b'ring_bytes = "2MiB"\nwindow_bytes = 524288\nbase_path = "/lab"\nrequire_origin = true\nunix_mode = "0660"\n'
    b'log_level = "debug"\nallow_commands = ["/usr/bin/"]\njwt_leeway_s = 5\nuser = "nobody"\n'
)


def test_changed_settings_are_good_settings_or_are_refused_in_words(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    path.write_bytes(SETTINGS_FILE)
    assert load({}, str(path), {}).settings.max_sessions == 100

    for batch in numbers(share=0.025, batch=1000):
        for number in batch:
            rng = dice("settings", number)
            content = mutate(rng, SETTINGS_FILE)
            path.write_bytes(content)
            environ = {SETTINGS[rng.choice(list(SETTINGS))].variable: rng.choice(ODD).decode(errors="surrogateescape")}
            with replayable(f"settings {content!r} {environ!r}", [number]):
                check_settings(str(path), rng.choice(({}, environ)))


def check_settings(path: str, environ: dict[str, str]) -> None:
    """Fail unless settings are refused in words, or are such that they may be written down and read again."""
    settings, problems = load_or_hear(path, environ)
    assert all(problem.text.isprintable() for problem in problems), problems
    if settings is None:
        assert problems
        return
    shown = {key: setting.kind.read(setting.kind.show(getattr(settings, key))) for key, setting in SETTINGS.items()}
    assert Settings(**shown) == settings


def load_or_hear(path: str, environ: dict[str, str]) -> tuple[Settings | None, tuple[Problem, ...]]:
    """Return the settings, or what is wrong with them."""
    try:
        return load({}, path, environ).settings, ()
    except ConfigError as exc:
        return None, exc.problems
