"""`ws-subprocess token inspect`: what a signed token says, and whether it is good.

Laws: the token comes from stdin, never from the command line; nothing of it reaches a terminal unescaped; it is looked
at as the daemon does, but not used up.
"""

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from ws_subprocess.cli.config import load_or_exit
from ws_subprocess.cli.flags import CONTEXT_SETTINGS, LongOption, config_option
from ws_subprocess.cli.token_key import key_options, read_key_data, refuse
from ws_subprocess.config.settings import Settings

if TYPE_CHECKING:
    from ws_subprocess.auth.keys import VerifyingKey

NOT_VALID = 1
READ_MAX_BYTES = 16 * 1024

# What each reason of a refusal means to a person.
REASONS: Mapping[str, str] = {
    "jwt_format": "it is no signed token, or not written as one",
    "jwt_header": "it brings its own key, or tells where to fetch it; only keys that the daemon was given count",
    "jwt_crit": "it asks for an extension of the format, and none is supported",
    "jwt_type": "it is meant for something else",
    "jwt_alg": "it is signed in another way than the key is for",
    "jwt_key": "the key that it names is not known",
    "jwt_signature": "it was not signed with this key, or was changed afterwards",
    "jwt_claims": "its claims cannot be used",
    "jwt_audience": "it is for somebody else",
    "jwt_issuer": "it was made by somebody else",
    "jwt_expired": "it has expired; make a new one",
    "jwt_not_yet": "it is not valid yet; compare the clocks of the two machines",
    "gate_unavailable": "the issuer's keys cannot be fetched",
}

_ONCE = "once: its jti is remembered"
_OFTEN = "as often as one likes until it expires, unless the daemon has token_once"

OPTIONS = [
    *key_options(False, "Key that should have signed it; its public half will do  [default: jwt_keys, jwt_jwks_url]"),
    LongOption("--audience", "audience", metavar="TEXT", help="Who should take it  [default: jwt_audience]"),
    config_option(),
]


@click.command("inspect", context_settings=CONTEXT_SETTINGS, params=OPTIONS)
def inspect_token(key: str | None, algorithm: str, audience: str | None, config_path: str | None) -> None:
    """Explain the signed token on stdin; the exit status is 0 if it is valid, 1 if not.

    Without --key it is verified with the keys that the settings name. It is not used up.
    """
    settings = load_or_exit(config_path, {}).settings
    text = _read_token()
    # Not at the top: `--help` must wait neither for cryptography nor for asyncio.
    import asyncio

    from ws_subprocess.auth.jws import decode_token
    from ws_subprocess.doors.handshake import TOKEN_MAX_BYTES
    from ws_subprocess.errors import GateError

    if len(text.encode("utf-8", "replace")) > TOKEN_MAX_BYTES:
        click.echo(f"not valid: longer than {TOKEN_MAX_BYTES} bytes, which no door takes [token_too_long]")
        sys.exit(NOT_VALID)
    try:
        header, claims, _ = decode_token(text)
        click.echo("\n".join(_describe(header, claims)))
        verifying = None if key is None else _load_key(key, algorithm, header.get("kid"))
        verdict = asyncio.run(_judge(text, settings, verifying, audience or settings.jwt_audience))
    except GateError as exc:
        click.echo(f"not valid: {REASONS[exc.reason]} [{exc.reason}: {exc.detail}]")
        sys.exit(NOT_VALID)
    click.echo(verdict)


def _read_token() -> str:
    if sys.stdin.isatty():
        return str(click.prompt("Token", hide_input=True, err=True))
    return sys.stdin.buffer.read(READ_MAX_BYTES).decode("utf-8", "replace").strip()


def _load_key(key: str, algorithm: str, kid: object) -> "VerifyingKey":
    """Return the key that `--key` names, as if it had the name that the token calls it by."""
    from ws_subprocess.auth.keys import (
        infer_algorithm,
        is_private,
        load_public_key,
        load_signing_key,
        load_verifying_key,
    )

    name = kid if isinstance(kid, str) else ""
    data = read_key_data(key, is_public=True)
    try:
        if is_private(data) or b"-----BEGIN " not in data:
            # A secret: it must be kept as one.
            return load_signing_key(read_key_data(key), algorithm, name).get_verifying()
        return load_verifying_key(data, algorithm or infer_algorithm(load_public_key(data)), name)
    except ValueError as exc:
        refuse("--key", str(exc))


async def _judge(text: str, settings: Settings, key: "VerifyingKey | None", audience: str) -> str:
    """Return that the token is good, with what was not looked at; raise GateError if it is not."""
    from ws_subprocess.auth.claims import check_fields
    from ws_subprocess.auth.jwks import PublishedKeys
    from ws_subprocess.auth.jws import decode_token
    from ws_subprocess.auth.key_ring import KeyRing
    from ws_subprocess.auth.signed import SignedTokens
    from ws_subprocess.config.signing_keys import build_rules, read_keys
    from ws_subprocess.process.environ import is_refused

    if key is None and not settings.jwt_keys and not settings.jwt_jwks_url:
        refuse("--key", "none given, and neither jwt_keys nor jwt_jwks_url in the settings: it is not verified")
    ring = KeyRing(read_keys(settings.jwt_keys, os.environ) if key is None else [key])
    published = PublishedKeys(settings.jwt_jwks_url) if key is None and settings.jwt_jwks_url else None
    rules = replace(build_rules(settings), audience=audience or _guess_audience(decode_token(text)[1]))
    authority = SignedTokens(ring, published, rules, is_refused, token_type=settings.jwt_type)
    try:
        _, claims = await authority.read(text)
    finally:
        await authority.close()
    check_fields(claims, is_refused)
    return "valid" if audience else "valid for its aud, if that is the daemon's: none was given with --audience"


def _guess_audience(claims: Mapping[str, Any]) -> str:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    return next((item for item in listed if isinstance(item, str)), "")


def _describe(header: Mapping[str, Any], claims: Mapping[str, Any]) -> Iterator[str]:
    for title, fields in (("header", header), ("claims", claims)):
        yield title
        for name, value in fields.items():
            # json.dumps escapes whatever a terminal could take for a command.
            yield f"  {json.dumps(name)}: {json.dumps(value)}"
    yield "meaning"
    yield f"  runs      {_describe_command(claims)}"
    now = time.time()
    for name, word in (("iat", "issued"), ("nbf", "good from"), ("exp", "expires")):
        if name in claims:
            yield f"  {word:9} {_describe_time(claims[name], now)}"
    yield f"  counts    {_ONCE if 'jti' in claims else _OFTEN}"
    yield "  readable  by whoever has it: it is signed, not encrypted"


def _describe_command(claims: Mapping[str, Any]) -> str:
    if claims.get("command") is None:
        return f"what the client proposes out of allow: {json.dumps(claims.get('allow'))}"
    args = claims.get("args")
    return json.dumps([claims["command"], *(args if isinstance(args, list) else [])])


def _describe_time(value: object, now: float) -> str:
    if not isinstance(value, int) or isinstance(value, bool):
        return "at no time that can be read"
    try:
        left_s, shown = round(value - now), time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(value))
    except (OverflowError, ValueError, OSError):
        return "at no time that a calendar has"
    return f"in {left_s} s ({shown})" if left_s >= 0 else f"{-left_s} s ago ({shown})"
