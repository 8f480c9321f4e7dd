"""What a job's result looks like to those who ask for it by HTTP, and to callbacks: the report.

Laws: a report is written piece by piece, so that a job with gigabytes of output needs no gigabytes here; text holds
U+FFFD for what is no UTF-8, and then the very bytes stand beside it in base64.
"""

import base64
import codecs
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from ws_subprocess.model import STDERR, STDOUT
from ws_subprocess.service.job import Job, JobState

# A multiple of 3, so that the pieces of base64 join without padding between them.
PIECE_BYTES = 3 * 64 * 1024
RESULT = "result"
"""The fact that holds what a callback made of a report."""
TIMEOUT = "timeout_s"
"""The fact that holds the time a job was given, in seconds."""
COMMAND = "cmd"
"""The fact that holds the command line as it was asked for."""

_ESCAPED = re.compile("[\udc80-\udcff]")
_KILLED = -9
_UNKNOWN = -1

Read = Callable[[int, int, int], Awaitable[bytes]]
"""Reads of a stream (STDOUT, STDERR), from an offset, at most so many bytes."""


def find_returncode(job: Job) -> int:
    """Return what Python's subprocess would: the exit code, or minus the signal; -9 when time was up."""
    if job.state is JobState.TIMED_OUT:
        return _KILLED
    if job.exit_code is not None:
        return job.exit_code
    if job.signal is not None:
        return -job.signal
    return _KILLED if job.state is JobState.KILLED else _UNKNOWN


def explain_end(job: Job) -> str | None:
    """Return why a job did not end by itself, None when it did: then its error is what it wrote to stderr."""
    match job.state:
        case JobState.FINISHED:
            return None
        case JobState.TIMED_OUT if job.error.startswith("timed out after "):
            return f"command timedout after {job.facts.get(TIMEOUT, 0):g} seconds."
        case JobState.FAILED:
            return explain_failure(job)
        case _:
            return job.error or job.state.value


def explain_failure(job: Job) -> str:
    """Return why a command could not be started, in the words of Python's OSError where it was the system's refusal."""
    asked = job.facts.get(COMMAND)
    name = asked[0] if isinstance(asked, list) and asked else job.command
    for number, text in _SYSTEM_ERRORS:
        if job.error.startswith("command ") and job.error.endswith(text):
            return f"[Errno {number}] {text}: {name!r}"
    return job.error


_SYSTEM_ERRORS = (
    (2, "No such file or directory"),
    (13, "Permission denied"),
    (8, "Exec format error"),
    (20, "Not a directory"),
)


async def write_report(job: Job, read: Read, most_bytes: int | None = None) -> AsyncIterator[bytes]:
    """Yield the JSON text of an ended job's report, piece by piece.

    Args:
        most_bytes: Of each stream; None for all.
    """
    replaced = job.facts.get(RESULT)
    if isinstance(replaced, dict):
        yield json.dumps(replaced).encode("ascii")
        return
    yield f'{{"key": {json.dumps(job.key)}, "report": '.encode("ascii")
    out, err = _Text(job.stdout_bytes, most_bytes), _Text(job.stderr_bytes, most_bytes)
    async for piece in out.write(STDOUT, read):
        yield piece
    why = explain_end(job)
    if why is None:
        yield b', "error": '
        async for piece in err.write(STDERR, read):
            yield piece
    else:
        yield f', "error": {json.dumps(why)}, "stderr": '.encode("ascii")
        async for piece in err.write(STDERR, read):
            yield piece
    async for piece in _write_binary("report_b64", STDOUT, out, read):
        yield piece
    async for piece in _write_binary("error_b64" if why is None else "stderr_b64", STDERR, err, read):
        yield piece
    yield b", " + json.dumps(_build_facts(job, out.is_cut or err.is_cut)).encode("ascii")[1:]


async def build_report(job: Job, read: Read, most_bytes: int) -> dict[str, Any]:
    """Return a report as a whole, with at most `most_bytes` of each stream."""
    text = b"".join([piece async for piece in write_report(job, read, most_bytes)])
    report: dict[str, Any] = json.loads(text)
    return report


def _build_facts(job: Job, is_cut: bool) -> dict[str, Any]:
    start, end = job.started_at, job.ended_at
    return {
        "returncode": find_returncode(job),
        "start_time": start,
        "end_time": end,
        "process_time": None if start is None or end is None else max(0.0, end - start),
        "status": job.state.value,
        "truncated": job.is_cut or is_cut,
    }


class _Text:
    """One stream as a JSON string; afterwards `is_text` tells whether it was all UTF-8."""

    def __init__(self, length: int, most_bytes: int | None) -> None:
        self.length = length if most_bytes is None else min(length, most_bytes)
        self.is_cut = self.length < length
        self.is_text = True

    async def write(self, stream: int, read: Read) -> AsyncIterator[bytes]:
        decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        count = 0
        yield b'"'
        async for data in _read_all(stream, self.length, read):
            count += len(data)
            yield self._encode(decoder.decode(data))
        # Somebody has deleted the job meanwhile.
        self.is_cut = self.is_cut or count < self.length
        yield self._encode(decoder.decode(b"", final=True)) + b'"'

    def _encode(self, text: str) -> bytes:
        text, count = _ESCAPED.subn("\ufffd", text)
        self.is_text = self.is_text and not count
        return json.dumps(text).encode("ascii")[1:-1]


async def _write_binary(name: str, stream: int, text: _Text, read: Read) -> AsyncIterator[bytes]:
    if text.is_text:
        return
    yield f', "{name}": "'.encode("ascii")
    rest = b""
    async for data in _read_all(stream, text.length, read):
        data = rest + data
        rest = data[len(data) - len(data) % 3 :]
        yield base64.b64encode(data[: len(data) - len(rest)])
    yield base64.b64encode(rest) + b'"'


async def _read_all(stream: int, length: int, read: Read) -> AsyncIterator[bytes]:
    offset = 0
    while offset < length:
        data = await read(stream, offset, min(PIECE_BYTES, length - offset))
        if not data:
            return
        offset += len(data)
        yield data
