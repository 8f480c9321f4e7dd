"""Every kind of credential that a client may come with, good or bad, and what becomes of it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gated_daemon import (
    ELSEWHERE,
    LAPSED,
    STATIC,
    WAYS,
    Gated,
    Header,
    foreign_key,
    forged,
    signed_with_the_public_key,
    unsigned,
)
from scripted_server import respond

from ws_subprocess.auth.tokens_file import show_hash


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of credential.

    Attributes:
        make: Makes one, and tells the controller what to say of it; None when nothing is sent at all.
        code: What a client is told; "" when it is let in.
        reason: What the audit says, where that is more.
        is_asked: Whether the controller is asked.
        ways: In which ways it can be sent.
        counts_once: Whether the second use of it is refused.
    """

    make: Callable[[Gated], str | None]
    code: str = ""
    reason: str = ""
    is_asked: bool = False
    ways: tuple[str, ...] = tuple(WAYS)
    counts_once: bool = False


def answered(answer: Any, token: str = "t0ken") -> Callable[[Gated], str]:
    """Return what lets the controller answer so to a token."""

    def make(gated: Gated) -> str:
        gated.daemon.grants[token] = answer
        return token

    return make


HOUR_S = 3600
PAST, FUTURE = 1_500_000_000, 4_000_000_000
KINDS: dict[str, Kind] = {
    "none": Kind(lambda _: None, "token_missing", ways=("header",)),
    "empty": Kind(lambda _: "", "token_missing", ways=("query",)),
    "empty bearer": Kind(lambda _: "", "token_malformed", ways=("header", "subprotocol")),
    "two words": Kind(lambda _: "t0 ken", "token_malformed", ways=("header",)),
    "too long": Kind(lambda _: "x" * 8193, "token_too_long"),
    "garbage": Kind(lambda _: "\x1b[31m'\"<\x7f\u20ac", "denied", is_asked=True, ways=("query", "subprotocol")),
    "unknown": Kind(lambda _: "nobody-knows-this-token", "denied", is_asked=True),
    "refused by the controller": Kind(answered(respond("", "401 No")), "denied", is_asked=True),
    "sent elsewhere by the controller": Kind(
        answered(respond("", "302 Found", "Location: /")), "denied", is_asked=True
    ),
    "controller fails": Kind(answered(respond("", "500 Oops")), "controller_error", is_asked=True),
    "controller says nonsense": Kind(answered(respond("<html>")), "controller_bad_json", is_asked=True),
    "controller is no controller": Kind(answered(b"garbage\r\n\r\n"), "controller_bad_answer", is_asked=True),
    "controller forgets the command": Kind(answered({}), "controller_bad_schema", is_asked=True),
    "controller without the right": Kind(
        answered({"command": "/bin/true", "rights": []}), "right_missing", is_asked=True
    ),
    "controller": Kind(lambda gated: gated.allow("t0ken"), is_asked=True),
    "static": Kind(lambda _: STATIC),
    "static of another door": Kind(lambda _: ELSEWHERE, "denied", "token_door"),
    "static that has lapsed": Kind(lambda _: LAPSED, "denied", "token_expired"),
    "static with a letter more": Kind(lambda _: STATIC + "x", "denied", is_asked=True),
    "static by its hash": Kind(lambda _: show_hash(STATIC), "denied", is_asked=True),
    "signed": Kind(lambda gated: gated.sign()),
    "signed, once": Kind(lambda gated: gated.sign(jti="a-number"), counts_once=True),
    "signed, expired": Kind(lambda gated: gated.sign(iat=PAST, exp=PAST + 60), "denied", "jwt_expired"),
    "signed, not yet": Kind(lambda gated: gated.sign(nbf=FUTURE), "denied", "jwt_not_yet"),
    "signed, for ever": Kind(lambda gated: gated.sign(exp=FUTURE), "denied", "jwt_claims"),
    "signed, without end": Kind(lambda gated: gated.sign(exp=None), "denied", "jwt_claims"),
    "signed, for others": Kind(lambda gated: gated.sign(aud="mail.example"), "denied", "jwt_audience"),
    "signed, for nobody": Kind(lambda gated: gated.sign(aud=None), "denied", "jwt_audience"),
    "signed, without a command": Kind(lambda gated: gated.sign(command=None), "denied", "jwt_claims"),
    "signed by others": Kind(foreign_key, "denied", "jwt_signature"),
    "signed with an unknown key": Kind(
        lambda gated: gated.sign(b"x" * 40, headers={"kid": "nobody"}), "denied", "jwt_key"
    ),
    "signed with the public key": Kind(signed_with_the_public_key, "denied", "jwt_alg"),
    "not signed": Kind(unsigned, "denied", "jwt_format"),
    "signed with nothing": Kind(lambda gated: unsigned(gated) + "AAAA", "denied", "jwt_alg"),
    "changed": Kind(forged, "denied", "jwt_signature"),
    "only the claims": Kind(lambda gated: gated.sign().rpartition(".")[0] + ".", "denied", "jwt_format"),
}


def send(kind: Kind, way: str, gated: Gated) -> tuple[str, list[Header]]:
    """Return target and headers that send a credential of this kind in this way."""
    token = kind.make(gated)
    return ("/ws", []) if token is None else WAYS[way](token)
