"""Answers of the controller that are almost good: only what is HTTP 200 with a grant beyond doubt may start anything.

What is beyond doubt is decided here by a second reading of the same bytes, which shares no code with the daemon's.
"""

import json
import re
from dataclasses import dataclass
from random import Random
from typing import Any

from fuzzed_daemon import FuzzedDaemon, handshake, read_status
from fuzzing import dice, is_thorough, mutate, numbers, replayable
from scripted_server import respond

GRANTS: tuple[dict[str, Any], ...] = (
    {"command": "/bin/true"},
    {
        "command": "/bin/true",
        "args": ["a", "b\u00e9"],
        "env": {"LAB": "7"},
        "cwd": "/tmp",
        "title": "Lab",
        "tty": False,
    },
    {"command": "/bin/true", "rows": 30, "cols": 90, "idle_timeout_s": 5, "max_lifetime_s": 9.5, "read_only": True},
    {"command": "/bin/true", "rights": ["start", "view", "write"], "principal": "ada", "max_output_bytes": 4096},
)
_STATUS = re.compile(rb"HTTP/[0-9]\.[0-9] 200(?: [^\r\n]*)?")
OTHER_STATUSES = (
    "201 Created",
    "202 Accepted",
    "203 Maybe",
    "206 Partial",
    "302 Found",
    "401 No",
    "404 No",
    "200.5 OK",
)
FORBIDDEN = respond("", "403 Forbidden")
AGREED = {101, 403, 502, 503, 504}


def make_answer(rng: Random) -> bytes:
    """Return an answer with some places of its head or of its body changed, or one with another behind it."""
    if rng.random() < 0.1:
        return rng.choice((FORBIDDEN, respond(json.dumps(GRANTS[1])))) + respond(json.dumps(GRANTS[0]))
    if rng.random() < 0.05:
        return respond(json.dumps(GRANTS[0]), rng.choice(OTHER_STATUSES))
    body = json.dumps(rng.choice(GRANTS), ensure_ascii=rng.random() < 0.5).encode()
    if rng.random() < 0.5:
        return _frame(rng, mutate(rng, body, rng.choice((1, 4))))
    return mutate(rng, _frame(rng, body), rng.choice((1, 4)))


def _frame(rng: Random, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
    match rng.randrange(4):
        case 0:
            chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]) if part)
            return head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
        case 1:
            return head + b"Connection: close\r\n\r\n" + body
        case _:
            return head + b"Content-Length: %d\r\n\r\n" % len(body) + body


@dataclass(frozen=True, slots=True)
class Reading:
    """What an answer is: its `grant`, None when there is any doubt; `is_whole` when it says itself where it ends."""

    grant: dict[str, Any] | None = None
    is_whole: bool = False


def read(answer: bytes) -> Reading:
    """Return what an answer is."""
    # RFC 9112, section 2.2: a line may end without its CR.
    head, *rest = re.split(rb"\r?\n\r?\n", answer, maxsplit=1)
    # Section 5.2: a line that begins with white space goes on with the one before.
    lines = re.split(rb"\r?\n", re.sub(rb"\r?\n[ \t]+", b" ", head))
    fields: dict[bytes, bytes] = {}
    for line in lines[1:]:
        name, colon, value = line.partition(b":")
        if not colon or not re.fullmatch(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+", name):
            return Reading()
        fields[name.lower()] = value.strip(b" \t")
    body = _find_body(fields, rest[0]) if rest else None
    is_whole = body is not None and not fields.keys().isdisjoint((b"content-length", b"transfer-encoding"))
    is_good = _STATUS.fullmatch(lines[0]) and fields.get(b"content-encoding", b"identity").lower() == b"identity"
    return Reading(_parse_object(body) if body is not None and is_good else None, is_whole)


def _parse_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body.decode("utf-8"))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def _find_body(fields: dict[bytes, bytes], rest: bytes) -> bytes | None:
    if fields.get(b"transfer-encoding", b"").lower() == b"chunked":
        match = re.fullmatch(rb"(?:([0-9a-fA-F]+)[^\r\n]*\r\n)(.*)", rest, re.DOTALL)
        body = b""
        while match and (size := int(match[1], 16)):
            body, rest = body + match[2][:size], match[2][size:].removeprefix(b"\r\n")
            match = re.fullmatch(rb"(?:([0-9a-fA-F]+)[^\r\n]*\r\n)(.*)", rest, re.DOTALL)
        return body if match else None
    if b"content-length" in fields:
        length = fields[b"content-length"]
        return rest[: int(length)] if length.isdigit() and len(rest) >= int(length) else None
    return rest


def is_grant(found: dict[str, Any] | None) -> bool:
    """Tell whether an object is a grant that runs what these tests grant, as PROTOCOL.md, "The grant", has it."""
    if found is None or not isinstance(found.get("command"), str) or not found["command"].startswith("/"):
        return False
    kinds: dict[str, Any] = {"args": list, "env": dict, "cwd": str, "title": str, "tty": bool, "rows": int, "cols": int}
    kinds |= {"idle_timeout_s": int | float, "max_lifetime_s": int | float, "read_only": bool, "rights": list}
    kinds |= {"principal": str, "max_output_bytes": int}
    return all(found.get(key) is None or isinstance(found[key], kind) for key, kind in kinds.items())


def test_the_second_reading_knows_a_grant_when_it_sees_one() -> None:
    rng = dice("good answers", 0)

    for grant in GRANTS * 20:
        assert read(_frame(rng, json.dumps(grant).encode())).grant == grant
    assert read(respond("{}", "201 Created")) == Reading(None, True)
    assert read(respond("[]")) == Reading(None, True)
    assert read(respond("{}", length=3)) == Reading(None, False)
    assert not is_grant({"command": "true"})
    assert not is_grant({"command": "/bin/true", "args": "x"})


async def test_no_answer_harms_the_daemon_and_only_a_grant_starts_anything(fuzzed: FuzzedDaemon) -> None:
    statuses: dict[int, int] = {}

    async def knock(number: int) -> None:
        rng = dice("answer", number)
        answer = fuzzed.answers[f"t{number}"] = make_answer(rng)
        if not (reading := read(answer)).is_whole:
            # Or else the daemon waits for the rest, and after some such waits asks no more.
            fuzzed.breaks_off.add(f"t{number}")
        with replayable(f"answer {answer!r}", [number]):
            status = read_status(await fuzzed.talk(handshake(fuzzed.host, b"t%d" % number)))
            assert status in AGREED
            assert fuzzed.granted.pop(f"t{number}", 0) <= 1, "asked twice about one token"
            assert status != 101 or is_grant(reading.grant), "started by what is no grant"
        del fuzzed.answers[f"t{number}"]
        fuzzed.breaks_off.discard(f"t{number}")
        statuses[status] = statuses.get(status, 0) + 1

    for batch in numbers(share=0.2, batch=1000):
        with replayable("answers", batch):
            await fuzzed.in_parallel(knock, batch)
            await fuzzed.is_unharmed()

    # Few were turned away because the answers before were too many that did not come.
    assert statuses.get(503, 0) <= statuses.get(502, 0) / 10
    assert not is_thorough() or statuses.keys() >= {101, 403, 502}
