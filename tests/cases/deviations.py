"""Where the daemon deliberately differs from the catalogue, and why; and the cases that cannot be tested yet.

Law: an entry here is a claim: one that is no longer true fails `test_catalogue`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

JUDGED_WRONG: Mapping[str, str] = {
    "CL-11": "root is warned about at every start, not refused: the daemon's first use is one's own machine, and a "
    "container has no other account; `user` and `allow_users` are there for who wants them",
    "CM-09": "there is no first-message token: a token comes with the handshake and is refused before the upgrade, so "
    "nobody holds a websocket open without one (HS-01, and HS-26 for a handshake that never ends)",
    "CM-10": "there is no input before the token, for the same reason; frames that come with the handshake wait until "
    "the token was granted (HS-41)",
}

_RESUME = "a client cannot come back to a session yet: every websocket begins its own"
_HTTP_DOOR = "no door takes a request with a body yet: what may be run is asked for by a websocket's handshake alone"
_JOBS = "there are no jobs yet: a command lives as long as its websocket"

# Tested with the doors that they are about.
OPEN: Mapping[str, str] = {
    "CM-14": _RESUME,
    "CM-15": _RESUME,
    "HT-01": f"{_HTTP_DOOR}; a handshake without credentials is HS-01",
    "HT-03": _HTTP_DOOR,
    "HT-05": _HTTP_DOOR,
    "HT-06": _HTTP_DOOR,
    "HT-07": _HTTP_DOOR,
    "HT-08": _HTTP_DOOR,
    "HT-09": _HTTP_DOOR,
    "HT-10": _HTTP_DOOR,
    "HT-11": f"{_JOBS}, so there are no aliases",
    "HT-13": f"{_JOBS}, so there are no aliases",
    "HT-14": f"{_HTTP_DOOR}; at the terminal's it is CT-38",
    "HT-15": "there is no second listener yet; at the first one it is HS-35",
    "HT-17": f"{_HTTP_DOOR}; a grant's is CT-33",
    "HT-19": _HTTP_DOOR,
    "HT-21": "there are no uploads yet",
    "HT-22": "there are no uploads yet",
    "HT-24": f"{_JOBS}, and nobody is called back",
    "HT-25": f"{_JOBS}, and nobody is called back",
    "HT-29": _JOBS,
    "HT-30": f"{_JOBS}, and nobody waits for one",
    "HT-31": _HTTP_DOOR,
    "HT-32": "there is no JSON-RPC yet",
    "HT-33": "there is no JSON-RPC yet",
    "HT-34": "each door's methods are to be tested when there is more than one; at today's routes tests/doors does",
    "HT-37": "nothing that a client names stands in a header yet",
    "HT-39": "there is no administration yet",
    "HT-40": _HTTP_DOOR,
}


@dataclass(frozen=True, slots=True)
class Deviation:
    """How one case, or one variant of its input, differs.

    Attributes:
        changes: Fields of the expectation that are others than the catalogue's.
        code_is_in_audit: The catalogue's code stands in the audit's `reason`; the client is told `changes["code"]`.
    """

    why: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    code_is_in_audit: bool = False


_PLAIN = Deviation(
    "the head is refused by the server itself, before there is a request to answer: as text, and the connection ends",
    {"is_plain": True},
)

_NO_JSON = Deviation("NaN is no JSON: the whole answer is refused, not the key", {"code": "controller_bad_json"})
_DENIED = Deviation(
    "why a token was refused helps whoever guesses tokens: the client is told `denied`, the audit why",
    {"code": "denied"},
    code_is_in_audit=True,
)
_NOT_SIGNED = Deviation(
    "it does not begin as a signed token does, so it is nobody's: another authority may know it",
    {"code": "denied", "reason": "token_unknown"},
)
_NO_JSON_CLAIM = Deviation("NaN and Infinity are no JSON", {"code": "denied", "reason": "jwt_format"})

# By case and variant of its input, "" for all of them.
DEVIATIONS: Mapping[tuple[str, str], Deviation] = {
    ("CL-09", "both absent"): Deviation(
        "without any authority the usual controller is asked: the original program's flags all have defaults, too",
        {"exit": 0, "code": "ok"},
    ),
    ("CT-05", "101"): Deviation(
        "to switch protocols unasked is no HTTP (RFC 9110, section 15.2.2)", {"code": "controller_bad_answer"}
    ),
    ("CT-05", "103 without end"): Deviation(
        "informational answers are skipped, however many, within the one deadline that holds for all of an answer",
        {"status": 504, "code": "controller_timeout", "message": "Controller timeout"},
    ),
    ("CT-40", "good but odd"): Deviation(
        "headers that we have no use for do no harm: they are bounded (32 KiB in all), not kept and not followed",
        {"kind": "ok", "status": 0, "code": "", "message": ""},
    ),
    ("CT-35", "NaN"): _NO_JSON,
    ("CT-36", "NaN"): _NO_JSON,
    ("FR-11", "reason not UTF-8"): Deviation(
        "as the case's own invariant has it (RFC 6455, section 7.4.1)", {"close": 1007}
    ),
    ("HS-15", ""): _PLAIN,
    ("HS-21", ""): _PLAIN,
    ("HS-22", ""): _PLAIN,
    ("HS-22", "two keys"): Deviation(
        "any header that may stand once is refused twice in the same words",
        {"is_plain": True, "message": "Duplicate header"},
    ),
    ("HS-23", ""): _PLAIN,
    ("HS-24", ""): _PLAIN,
    ("HS-36", ""): Deviation(_PLAIN.why, {"is_plain": True, "message": "Bad request target"}),
    ("HS-40", ""): _DENIED,
    **{(f"JW-{number:02}", ""): _DENIED for number in (3, 8, 9, 11, 13, 14, 15, 16, 17, 19, 20, 21, 23, 24, 25, 26)},
    ("JW-09", "no header"): _NOT_SIGNED,
    ("JW-10", "1 MB"): Deviation(
        "no head of a request may be that long; it is refused before anybody looks for a token in it",
        {"status": 414, "message": "URI Too Long", "is_plain": True},
    ),
    ("JW-11", "header a list"): _NOT_SIGNED,
    ("JW-15", "infinity"): _NO_JSON_CLAIM,
    ("JW-15", "NaN"): _NO_JSON_CLAIM,
    ("JW-20", "10 KB"): Deviation(
        "a token with it is longer than any may be (JW-10)",
        {"status": 400, "code": "token_too_long", "message": "Token too long"},
    ),
    ("JW-22", ""): Deviation("the code that CL-09 wants of the same key", {"code": "bad_config"}),
    ("JW-22", "empty"): Deviation(
        "any secret's file that is empty is told in the same words",
        {"code": "bad_config", "message": "empty, or larger than"},
    ),
}
