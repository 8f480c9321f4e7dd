"""Requests with bodies to every HTTP door that are almost good: whatever comes, the answer is one that is documented,
nothing runs that nobody granted, and nothing of it is left.
"""

import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest
from fuzzed_daemon import FuzzedDaemon, cut, fuzzed_daemon, read_status
from fuzzing import ODD, dice, is_thorough, mutate, numbers, replayable
from scripted_server import respond
from test_fuzz_handshakes import PARSERS

TOKEN = b"a-g00d-token"
COMMANDS = """
[[command]]
name = "true"
command = "/bin/true"

[[command]]
name = "plain"
command = "/bin/true"
allow_args = false
allow_files = false
"""
JSON, STREAM, FORM = b"application/json", b"application/octet-stream", b"multipart/form-data; boundary=frontier"
_PROCESS: dict[str, Any] = {
    "alias": "a", "cmd": "/bin/true", "args": ["x"], "cwd": "/tmp", "envs": {"A": "b"}, "stdin": "in",
    "stderr": "drop", "timeout": 5,
}  # fmt: skip
_COMMAND: dict[str, Any] = {
    "args": ["a", "b"], "timeout": 5, "force_unique_key": True, "callback_context": {"a": [1]}, "stdin": "in",
    "keep_stdin": False, "retention": "keep", "priority": -1, "callback_url": "https://127.0.0.1/",
}  # fmt: skip
_START: dict[str, Any] = {"command": "/bin/true", "args": ["x"], "cwd": "/tmp", "env": {"A": "b"}, "tty": False}
_CALL: dict[str, Any] = {"jsonrpc": "2.0", "method": "start", "params": _START, "id": 1}
_WRITE: dict[str, Any] = {"session": "x", "text": "x", "eof": True}
# Method and target, type of the body, and its JSON.
CALLS: tuple[tuple[bytes, bytes, Any], ...] = (
    (b"POST /process", JSON, _PROCESS),
    (b"POST /commands/true", JSON, {name: value for name, value in _COMMAND.items() if name != "callback_url"}),
    (b"POST /commands/true", JSON, _COMMAND),
    (b"POST /commands/plain", JSON, {}),
    (b"POST /payloads", JSON, {"cmd": "/bin/true", "params": ["x"], "timeout": 5}),
    (b"POST /payloads", b"application/x-www-form-urlencoded", {"Cmd": "/bin/true", "Params": []}),
    (b"POST /rpc", JSON, {"weerpc": 1.1, "function": "start", "data": _START}),
    (b"POST /rpc", JSON, {"weerpc": 1.1, "function": "write", "data": _WRITE}),
    (b"POST /rpc", JSON, {"weerpc": 1.1, "function": "output", "data": {"session": "x", "offset": 0, "limit": 9}}),
    (b"POST /rpc/1.0", JSON, {"wrpc": 1, "function": "list", "data": None}),
    (b"POST /rpc", JSON, _CALL),
    (b"POST /rpc", JSON, [_CALL, {"jsonrpc": "2.0", "method": "list"}]),
)
_FILES = (
    b'--frontier\r\nContent-Disposition: form-data; name="f"; filename="f"\r\nContent-Type: text/plain\r\n\r\nx\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="request_json"\r\n\r\n{"args": ["@f"]}\r\n--frontier--\r\n'
)
_HEADER = base64.urlsafe_b64encode(json.dumps(_PROCESS | {"stdin": None}).encode())
# Method and target, header lines, and the body as it is.
OTHERS: tuple[tuple[bytes, bytes, bytes], ...] = (
    (b"POST /commands/true", b"Content-Type: " + FORM, _FILES),
    (b"POST /process", b"Content-Type: " + STREAM + b"\r\nX-Process: " + _HEADER, b"input of the command"),
    (b"POST /commands/true", b"Content-Type: application/json\r\nIdempotency-Key: order-1", b'{"args": ["a"]}'),
    (b"POST /commands/true/input?key=5e551047&end=true", b"Content-Type: " + STREAM, b"more input"),
    (b"GET /commands/true?key=5e551047&wait=true&timeout=1", b"Accept: text/event-stream", b""),
    (b"GET /commands/true/output?key=5e551047&offset=0&limit=9", b"Last-Event-ID: 0-0", b""),
    (b"GET /commands/true/jobs?limit=10&after=x", b"X: y", b""),
    (b"GET /payloads?limit=10&after=x", b"X: y", b""),
    (b"GET /payloads/5e551047/output?stream=stderr&offset=1", b"X: y", b""),
    (b"DELETE /payloads/5e551047", b"X: y", b""),
    (b"DELETE /commands/true?key=5e551047", b"X: y", b""),
)
# What stands in the place of a value of JSON.
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1e-9, 10**400, float("inf"), float("nan"), "", "x", "\0", "\ud800", "\r\nX-Evil: 1", "a" * 5000,
    "/etc/passwd", "../..", "${x}", [], {}, [None], ["\0"], [[[]]], {"": ""}, {"A=B": "x"}, {"LD_PRELOAD": "x"},
    ["x"] * 300, "start", "__class__", "5e551047", "@f", "@",
)  # fmt: skip
AGREED = {
    *(0, 100, 200, 201, 202, 204, 400, 401, 403, 404, 405, 408, 409, 411, 413, 414, 415, 417, 426, 431),
    *(429, 500, 501, 503, 505),
}


def write_request(host: bytes, start: bytes, lines: bytes, body: bytes, *, is_chunked: bool) -> bytes:
    """Return a request; a body in chunks does not tell its length before."""
    framing = b"Transfer-Encoding: chunked" if is_chunked else b"Content-Length: %d" % len(body)
    sent = body
    if is_chunked:
        half = len(body) // 2
        sent = (
            b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:half], body[half:]) if part) + b"0\r\n\r\n"
        )
    return (
        b"%s HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\nAccept: application/problem+json\r\n%s\r\n%s\r\n\r\n%s"
        % (start, host, TOKEN, lines, framing, sent)
    )


def change(rng: Random, value: Any) -> Any:
    """Return a JSON value with one place of it changed."""
    match value:
        case dict() if value and rng.random() < 0.85:
            name = rng.choice(list(value))
            match rng.randrange(8):
                case 0:
                    return {other: item for other, item in value.items() if other != name}
                case 1:
                    return value | {rng.choice(("", "__class__", "A\0", "x" * 300, "alias")): rng.choice(VALUES)}
                case _:
                    return value | {name: change(rng, value[name])}
        case list() if value and rng.random() < 0.7:
            place = rng.randrange(len(value))
            return [*value[:place], change(rng, value[place]), *value[place + 1 :] * rng.choice((1, 1, 1, 60))]
        case _:
            return rng.choice(VALUES)


def write_json(rng: Random, value: Any) -> bytes:
    """Return JSON as programs write it, or nearly."""
    text = json.dumps(value, indent=rng.choice((None, None, 2))).encode()
    match rng.randrange(12):
        case 0:
            return mutate(rng, text)
        case 1:
            return text + rng.choice(ODD)
        case 2:
            return text.replace(b'": ', b'": ' + b"[" * rng.choice((1, 60, 5000)), 1)
        case _:
            return text


def make_request(rng: Random, host: bytes) -> bytes:
    """Return a request whose JSON, body, head or all of it has some places changed."""
    is_chunked = rng.random() < 0.2
    if rng.random() < 0.6:
        start, kind, value = rng.choice(CALLS)
        for _ in range(rng.choice((0, 1, 1, 1, 2))):
            value = change(rng, value)
        lines, body = b"Content-Type: " + kind, write_json(rng, value)
    else:
        start, lines, body = rng.choice(OTHERS)
        if body and rng.random() < 0.7:
            body = mutate(rng, body)
    data = write_request(host, start, lines, body, is_chunked=is_chunked)
    match rng.randrange(4):
        case 0:
            head, _, rest = data.partition(b"\r\n\r\n")
            return mutate(rng, head, 2) + b"\r\n\r\n" + rest
        case 1:
            return mutate(rng, data, 2)
        case _:
            return data


def is_documented(head: bytes) -> bool:
    """Tell whether an answer may be: 500 only in the words of rexec, which have no type."""
    status = read_status(head)
    return status in AGREED and (status != 500 or b"\r\ncontent-type:" not in head.lower())


@pytest.fixture(params=list(PARSERS))
async def fuzzed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FuzzedDaemon]:
    """A daemon with all doors, with each parser; the controller grants one command that ends at once, always."""
    commands = tmp_path / "commands.toml"
    commands.write_text(COMMANDS)
    doors = ("--process-door", "--payloads-door", "--rpc-door", "--commands-file", str(commands))
    limits = ("--body-timeout", "0.25s", "--max-body-bytes", "64KiB", "--max-upload-bytes", "64KiB")
    kept = ("--max-jobs-kept", "100", "--state-dir", str(tmp_path / "state"))
    async with fuzzed_daemon(tmp_path, *doors, *limits, *kept, program=PARSERS[request.param]) as running:
        running.answers[TOKEN.decode()] = respond(json.dumps({"command": "/bin/true", "principal": "somebody"}))
        yield running


def list_good(host: bytes) -> list[bytes]:
    """Return a good request of each kind."""
    good = [write_request(host, start, b"Content-Type: " + kind, json.dumps(value).encode(), is_chunked=False)
            for start, kind, value in CALLS]  # fmt: skip
    return good + [write_request(host, *other, is_chunked=False) for other in OTHERS]


async def find_odd(
    fuzzed: FuzzedDaemon, requests: list[bytes], is_good: Callable[[int], bool]
) -> list[tuple[bytes, int]]:
    """Send requests one after the other; return those whose status is not good, with it."""
    answers = [(request, read_status(await fuzzed.talk(request))) for request in requests]
    return [(request, status) for request, status in answers if not is_good(status)]


async def test_without_a_change_each_request_is_understood(fuzzed: FuzzedDaemon) -> None:
    good = list_good(fuzzed.host)

    # 404: the job of which it speaks is not there. Nobody is called back here.
    odd = await find_odd(fuzzed, good, lambda status: status in (200, 201, 202, 404))

    assert [(request.split(b" HTTP")[0], status) for request, status in odd] == [(b"POST /commands/true", 400)]
    await fuzzed.process.sessions_reach(0)
    assert fuzzed.granted[TOKEN.decode()] > 10


async def test_no_request_with_a_body_harms_the_daemon_or_starts_what_nobody_granted(
    fuzzed: FuzzedDaemon, tmp_path: Path
) -> None:
    # What is opened and loaded once is there before anything is measured.
    await find_odd(fuzzed, list_good(fuzzed.host) * 3, lambda _: True)
    await fuzzed.process.sessions_reach(0)
    await fuzzed.warm_up()
    seen: set[int] = set()

    async def ask(number: int) -> None:
        rng = dice("bodies", number)
        data = make_request(rng, fuzzed.host)
        with replayable(f"body {data!r}", [number]):
            head = await fuzzed.talk(*cut(rng, data))
            assert is_documented(head), head
            assert b"x-evil" not in head.lower()
            seen.add(read_status(head))

    for batch in numbers(share=0.08, batch=1200):
        with replayable("bodies", batch):
            await fuzzed.in_parallel(ask, batch)
            await fuzzed.is_unharmed()

    started = 0.0
    for door in ("process", "commands", "payloads", "rpc"):
        started += await fuzzed.process.read_metric(f'ws_subprocess_sessions_started_total{{door="{door}"}}')
    assert started <= fuzzed.granted.total()
    assert not is_thorough() or seen >= {200, 201, 202, 400, 401, 404, 415}
    uploads = tmp_path / "state" / "spool" / "uploads"
    assert not uploads.exists() or not list(uploads.iterdir())
