"""`ws-subprocess token mint`: a signed token that lets one command run.

Laws: the token is all there is on stdout; what the daemon would refuse, with the same settings, is not made.
"""

import math
import secrets
import time
from dataclasses import dataclass
from typing import Any

import click

from ws_subprocess.cli.config import load_or_exit
from ws_subprocess.cli.flags import CONTEXT_SETTINGS, LongOption, config_option
from ws_subprocess.cli.token_key import key_options, read_key_data, refuse
from ws_subprocess.config.parse import parse_duration
from ws_subprocess.config.settings import Settings

JTI_BYTES = 16
LIFETIME = "60s"

OPTIONS = [
    *key_options(True, "Secret, or private key (PEM), that signs the token"),
    LongOption("--kid", "kid", default="", metavar="TEXT", help="Name of the key, if the daemon knows it by one"),
    LongOption("--audience", "audience", metavar="TEXT", help="Who takes the token  [default: jwt_audience]"),
    LongOption("--issuer", "issuer", metavar="TEXT", help="Who makes it  [default: jwt_issuer]"),
    LongOption("--subject", "subject", metavar="TEXT", help="Who gets it: the principal in audit and limits"),
    LongOption(
        "--lifetime",
        "lifetime",
        default=LIFETIME,
        metavar="DURATION",
        help=f"How long it is good  [default: {LIFETIME}]",
    ),
    LongOption("--not-once", "is_reusable", is_flag=True, help="Let it be used as often as one likes until it expires"),
    LongOption("--title", "title", metavar="TEXT", help="Title of the page  [default: COMMAND's name]"),
    LongOption("--cwd", "cwd", metavar="DIR", help="Directory that COMMAND runs in"),
    LongOption("--read-only", "is_read_only", is_flag=True, help="Let the client only look"),
    LongOption(
        "--claim",
        "extra",
        multiple=True,
        metavar="KEY=JSON",
        help="Any other claim, such as max_lifetime_s=600 or 'user=\"me\"'",
    ),
    config_option(),
    click.Argument(["command"], nargs=-1, metavar="-- [COMMAND [ARGS]...]"),
]


@dataclass(frozen=True, slots=True)
class MintOptions:
    """The flags that become claims; None where one was not given."""

    audience: str | None
    issuer: str | None
    subject: str | None
    lifetime: str
    is_reusable: bool
    title: str | None
    cwd: str | None
    is_read_only: bool
    extra: tuple[str, ...]


@click.command("mint", context_settings=CONTEXT_SETTINGS | {"allow_interspersed_args": False}, params=OPTIONS)
def mint_token(
    key: str, algorithm: str, kid: str, config_path: str | None, command: tuple[str, ...], **values: Any
) -> None:
    """Make a signed token and print it, and nothing else.

    The daemon that has the key, or its public half, in jwt_keys takes it. Without COMMAND, say with --claim allow=[...]
    what the client may propose.
    """
    options = MintOptions(**values)
    settings = load_or_exit(config_path, {}).settings

    # Not at the top: `--help` must not wait for cryptography.
    from ws_subprocess.auth.jws import build_token
    from ws_subprocess.auth.keys import load_signing_key

    try:
        signing = load_signing_key(read_key_data(key), algorithm, kid)
    except ValueError as exc:
        refuse("--key", str(exc))
    claims = _build_claims(options, settings, command, int(time.time()))
    if not claims.keys() & {"command", "allow"}:
        refuse("COMMAND", "none given; write it at the end, as in -- /bin/bash -l, or list some by --claim allow=[…]")
    token = build_token(signing, claims, settings.jwt_type or "JWT")
    _check(token, settings, str(claims["aud"]))
    click.echo(token)


def _build_claims(options: MintOptions, settings: Settings, command: tuple[str, ...], now: int) -> dict[str, Any]:
    audience = options.audience or settings.jwt_audience
    if not audience:
        refuse("--audience", "none given, and no jwt_audience in the settings; name the daemon's")
    claims: dict[str, Any] = {
        "iss": options.issuer or settings.jwt_issuer or None,
        "sub": options.subject,
        "aud": audience,
        "iat": now,
        "exp": now + _read_lifetime(options.lifetime),
        "jti": None if options.is_reusable else secrets.token_urlsafe(JTI_BYTES),
        "command": command[0] if command else None,
        "args": list(command[1:]) or None,
        "cwd": options.cwd,
        "title": options.title,
        "read_only": options.is_read_only or None,
    }
    return {name: value for name, value in claims.items() if value is not None} | _read_extra(options.extra)


def _read_lifetime(text: str) -> int:
    try:
        return math.ceil(parse_duration(text))
    except ValueError as exc:
        refuse("--lifetime", str(exc))


def _read_extra(texts: tuple[str, ...]) -> dict[str, Any]:
    from ws_subprocess.auth.strict_json import parse_json

    claims: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        try:
            claims[name] = parse_json(value.encode("utf-8", "surrogateescape"))
        except ValueError:
            refuse("--claim", f"{name}: its value is no JSON; write {name}=5, {name}=true or {name}='\"text\"'")
    return claims


def _check(token: str, settings: Settings, audience: str) -> None:
    """Exit with status 2 if a daemon with these settings would refuse the token."""
    from dataclasses import replace

    from ws_subprocess.auth.claims import check_claims, check_fields
    from ws_subprocess.auth.jws import parse_token
    from ws_subprocess.config.signing_keys import build_rules
    from ws_subprocess.doors.handshake import TOKEN_MAX_BYTES
    from ws_subprocess.errors import GateError
    from ws_subprocess.process.environ import is_refused

    rules = build_rules(settings)
    if len(token) > TOKEN_MAX_BYTES:
        refuse("token", f"{len(token)} bytes, which no door takes; at most {TOKEN_MAX_BYTES}")
    try:
        parts = parse_token(token, settings.jwt_type)
        claims = check_claims(parts.claims, replace(rules, audience=rules.audience or audience), time.time())
        check_fields(claims, is_refused)
    except GateError as exc:
        refuse("token", f"the daemon would refuse it: {exc.detail}")
