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

# Tested as soon as there is something to test.
OPEN: Mapping[str, str] = {
    "CM-14": _RESUME,
    "CM-15": _RESUME,
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

_OLD_FORM = Deviation(
    "clients of rexec know 500 for every bad request, and a text; who accepts problems gets the catalogue's answer",
    {"status": 500, "code": ""},
)
_ENVELOPE = Deviation(
    "whatever a call comes to is HTTP 200: weeRPC says it with `ok` and `message`", {"status": 200, "code": ""}
)

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
    ("HT-10", "old form"): _OLD_FORM,
    ("HT-10", "rpc"): _ENVELOPE,
    ("HT-11", "old form"): _OLD_FORM,
    ("HT-17", "old form"): _OLD_FORM,
    ("HT-17", "outside the root"): Deviation(
        "where commands may run the operator's lists say, which are asked after the token: the code is theirs",
        {"status": 403, "code": "command_denied", "reason": "cwd_denied"},
    ),
    ("HT-17", "absent"): Deviation(
        "as rexec has it: a directory that is not there is a command that cannot start (HT-14)",
        {"status": 404, "code": "start_failed"},
    ),
    ("HT-19", "process"): Deviation(
        "the answer ends its connection, and says so: what was sent after its request is not looked at",
        {"kind": "tcp", "status": 0, "code": ""},
    ),
    ("HT-19", "other doors"): Deviation(
        "as the case's own invariant has it: they are queued", {"kind": "ok", "status": 0, "code": ""}
    ),
    ("HT-21", ""): Deviation(
        "all that is wrong with a body of parts has one code; the detail says that a name stands twice",
        {"code": "bad_multipart"},
    ),
    ("HT-21", "one file name in two fields"): Deviation(
        "files are found by their fields and stored under names of ours, so that they cannot overwrite each other",
        {"kind": "ok", "status": 0, "code": ""},
    ),
    ("HT-22", "preamble 100 MB"): Deviation(
        "longer than any body may be by its own account, and so refused before it is read (HT-05)",
        {"status": 413, "code": "too_big"},
    ),
    ("HT-24", ""): Deviation("one code for every place that is not to be called", {"code": "callback_denied"}),
    ("HT-29", "finished"): Deviation(
        "as Flask-Shell2HTTP has it: DELETE forgets a job, after its end if that is still to come",
        {"status": 204, "code": ""},
    ),
    ("HT-29", "twice"): Deviation("as the case's own invariant has it", {"status": 404, "code": "job_unknown"}),
    ("HT-30", "10 000 waiters"): Deviation(
        "who finds no place to wait has sent no bad request, and may come back", {"status": 503, "code": "queue_full"}
    ),
    ("HT-31", "timeout"): Deviation("times have the code that HT-30 wants of them", {"code": "bad_timeout"}),
    ("HT-32", ""): _ENVELOPE,
    ("HT-33", "a million calls"): Deviation(
        "where bodies may be that large: more values than any JSON may have, so it is none (JSON-RPC, section 5.1)",
        {"status": 200, "code": ""},
    ),
    ("HT-33", "nested"): Deviation(
        "each element of a batch is a call or is answered as none, as JSON-RPC has it (section 6)",
        {"status": 200, "code": ""},
    ),
    ("HT-34", "process"): Deviation(
        "clients of rexec know 501 for everything that it has not", {"status": 501, "code": "not_implemented"}
    ),
    ("HT-34", "CONNECT"): Deviation(
        "names no path, so no door's methods can be told; the server itself refuses it, as text",
        {"is_plain": True, "message": "Method Not Allowed"},
    ),
    ("HT-34", "HEAD"): Deviation(
        "where there is GET there is HEAD (RFC 9110, section 9.3.2)", {"kind": "ok", "status": 0, "code": ""}
    ),
    ("HT-37", "alias"): Deviation("the code that HT-11 wants of such an alias", {"code": "bad_alias"}),
    ("HT-37", "filename"): Deviation(
        "the name of a file is its sender's own business: it is not used, so it cannot do harm",
        {"kind": "ok", "status": 0, "code": ""},
    ),
    ("HT-39", ""): Deviation(
        "there is no administration: sessions are their owner's, who ends them by a call, which is HTTP 200 (HT-32)",
        {"status": 200},
    ),
    ("HT-39", "twice"): Deviation(
        "a session that has ended is known for a while, so that its end can be asked for",
        {"status": 200, "code": "not_running"},
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
