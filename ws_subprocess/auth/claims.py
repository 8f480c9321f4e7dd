"""What a signed token claims: for whom, from when, until when, and the grant. Pure; the time is an argument.

Laws: a claim that cannot be understood refuses the token, and none is guessed; times are whole numbers; how long a
token lives is not left to its issuer alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ws_subprocess.auth.grants import ParsedGrant, parse_grant
from ws_subprocess.auth.jws import refuse
from ws_subprocess.auth.proposals import ANY_COMMAND, Allowed, build_grant, parse_allow
from ws_subprocess.errors import GrantError
from ws_subprocess.model import LaunchRequest

# Of RFC 7519; all other claims are keys of the grant.
_REGISTERED = frozenset({"iss", "sub", "aud", "exp", "nbf", "iat", "jti"})
JTI_MAX_CHARS = 256
# Year 9999: every sane clock's time fits, and sums of two as well.
_TIME_MAX = 253_402_300_799


@dataclass(frozen=True, slots=True)
class ClaimRules:
    """What is required of claims.

    Attributes:
        audience: `aud` must be it, or list it.
        issuer: What `iss` must be; "" for anything.
        leeway_s: How far the issuer's clock may be off.
        max_lifetime_s: The most that `exp` may be after `iat`.
    """

    audience: str
    issuer: str = ""
    leeway_s: float = 30.0
    max_lifetime_s: float = 3600.0


@dataclass(frozen=True, slots=True)
class Claims:
    """Claims that hold now.

    Attributes:
        fields: Keys of a grant (`auth.grants`); `sub` has become `principal`.
        allow: What a client may propose.
        jti: "" for none.
    """

    issuer: str
    jti: str
    expires_at: int
    fields: Mapping[str, Any]
    allow: tuple[Allowed, ...]


def check_claims(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> Claims:
    """Return what the claims of a token say whose signature has been verified.

    Args:
        now: Unix time.

    Raises:
        GateError: `denied`; the reason is `jwt_claims`, `jwt_audience`, `jwt_issuer`, `jwt_expired` or `jwt_not_yet`.
    """
    issuer = _read_string(claims, "iss")
    _check_parties(claims, issuer, rules)
    expires_at = _check_times(claims, rules, now)
    fields = {key: value for key, value in claims.items() if key not in _REGISTERED and key != "allow"}
    if "sub" in claims:
        fields["principal"] = _read_string(claims, "sub")
    return Claims(
        issuer=issuer,
        jti=_read_jti(claims),
        expires_at=expires_at,
        fields=fields,
        allow=_read_allow(claims),
    )


def build_granted(claims: Claims, request: LaunchRequest, is_env_refused: Callable[[str], bool]) -> ParsedGrant:
    """Return what the claims grant at the door of `request`.

    Raises:
        GateError: `denied`, for `jwt_claims` or because the token does not allow what the client proposes.
        RequestError: What the client proposes cannot be used.
    """
    try:
        return build_grant(claims.fields, claims.allow, request, is_env_refused)
    except GrantError as exc:
        raise refuse("jwt_claims", exc.detail) from exc


def check_fields(claims: Claims, is_env_refused: Callable[[str], bool]) -> None:
    """Pass claims that grant something at some door.

    Raises:
        GateError: `denied` for `jwt_claims`.
    """
    fields = claims.fields
    if claims.allow and fields.get("command") is None:
        fields = {**fields, "command": ANY_COMMAND}
    try:
        parse_grant(fields, is_env_refused)
    except GrantError as exc:
        raise refuse("jwt_claims", exc.detail) from exc


def _check_parties(claims: Mapping[str, Any], issuer: str, rules: ClaimRules) -> None:
    audience = claims.get("aud")
    listed = audience if isinstance(audience, list) else [audience]
    if rules.audience not in listed:
        raise refuse("jwt_audience", f"aud: not {rules.audience}")
    if rules.issuer and issuer != rules.issuer:
        raise refuse("jwt_issuer", f"iss: not {rules.issuer}")


def _check_times(claims: Mapping[str, Any], rules: ClaimRules, now: float) -> int:
    expires_at, issued_at = _read_time(claims, "exp"), _read_time(claims, "iat")
    not_before = _read_time(claims, "nbf") if "nbf" in claims else issued_at
    if not 0 < expires_at - issued_at <= rules.max_lifetime_s:
        lifetime_s = expires_at - issued_at
        raise refuse("jwt_claims", f"exp - iat: {lifetime_s} s is not in 1..{rules.max_lifetime_s:g}")
    if now >= expires_at + rules.leeway_s:
        raise refuse("jwt_expired", f"exp: {now - expires_at:.0f} s ago")
    if (early_s := max(issued_at, not_before) - now) > rules.leeway_s:
        raise refuse("jwt_not_yet", f"iat or nbf: {early_s:.0f} s from now")
    return expires_at


def _read_time(claims: Mapping[str, Any], name: str) -> int:
    value = claims.get(name)
    # JSON's true is an int to Python.
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= _TIME_MAX:
        raise refuse("jwt_claims", f"{name}: missing, or not a whole number of seconds since 1970")
    return value


def _read_string(claims: Mapping[str, Any], name: str) -> str:
    value = claims.get(name, "")
    if not isinstance(value, str):
        raise refuse("jwt_claims", f"{name}: not a string")
    return value


def _read_jti(claims: Mapping[str, Any]) -> str:
    jti = _read_string(claims, "jti")
    if "jti" in claims and not 1 <= len(jti) <= JTI_MAX_CHARS:
        raise refuse("jwt_claims", f"jti: not 1 to {JTI_MAX_CHARS} characters")
    return jti


def _read_allow(claims: Mapping[str, Any]) -> tuple[Allowed, ...]:
    if claims.get("allow") is None:
        return ()
    try:
        return parse_allow(claims["allow"])
    except GrantError as exc:
        raise refuse("jwt_claims", exc.detail) from exc
