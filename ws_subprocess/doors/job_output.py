"""The output of a job while it comes and later: by offset, or as a stream of events (text/event-stream).

Laws: reading here consumes nothing; a reader that lost its connection goes on where it was, by offset or Last-Event-ID.
"""

import asyncio
import base64
import json
import re
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from ws_subprocess.dialects.codec import count_cut_bytes
from ws_subprocess.doors.departures import until_client_leaves
from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.model import STDERR, STDOUT
from ws_subprocess.service.job import Job
from ws_subprocess.service.jobs import Jobs
from ws_subprocess.service.reports import find_returncode

PIECE_BYTES = 64 * 1024
READ_MAX_BYTES = 1024 * 1024
WAIT_MAX_S = 60.0
PROGRESS_S = 10.0
STREAMS = {"stdout": STDOUT, "stderr": STDERR}
_NAMES = {number: name for name, number in STREAMS.items()}
_NUMBER = re.compile(r"[0-9]{1,18}")
_EVENT_ID = re.compile(r"([0-9]{1,18})-([0-9]{1,18})")


def wants_events(request: Request) -> bool:
    """Tell whether a client asks for a stream of events."""
    return "text/event-stream" in request.headers.get("accept", "").lower()


async def answer_output(request: Request, jobs: Jobs, job: Job) -> Response:
    """Return what a job has said from `offset` on, at most `READ_MAX_BYTES`; with `wait=true` not before there is some.

    Raises:
        BridgeError: The query cannot be understood, or too many wait.
        ClientDisconnect: The client left first.
    """
    stream, offset = _parse_stream(request), _parse_number(request, "offset", 0)
    limit = min(_parse_number(request, "limit", READ_MAX_BYTES), READ_MAX_BYTES)
    data = await jobs.read_output(job.id, stream, offset, limit)
    if not data and request.query_params.get("wait", "").lower() == "true":
        async with until_client_leaves(request):
            job, data = await _wait_for_output(jobs, job, stream, offset, limit)
    headers = {
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "X-Next-Offset": str(offset + len(data)),
        "X-Job-Status": job.state.value,
    }
    return Response(data, 200, headers, "application/octet-stream")


def answer_events(request: Request, jobs: Jobs, job: Job) -> Response:
    """Return the stream of a job's events: `output`, `progress`, and `end` as the last.

    Raises:
        RequestError: Last-Event-ID is none of ours.
    """
    offsets = _parse_event_id(request.headers.get("last-event-id", ""))
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "X-Accel-Buffering": "no"}
    # HEAD would be answered at the job's end.
    events = _Events(jobs, job, offsets).write() if request.method != "HEAD" else ()
    return StreamingResponse(events, 200, headers, "text/event-stream")


async def _wait_for_output(jobs: Jobs, job: Job, stream: int, offset: int, limit: int) -> tuple[Job, bytes]:
    deadline_s = asyncio.get_running_loop().time() + WAIT_MAX_S
    while True:
        left_s = deadline_s - asyncio.get_running_loop().time()
        is_last = job.state.is_end or left_s <= 0
        data = await jobs.read_output(job.id, stream, offset, limit)
        if data or is_last:
            return job, data
        job = await jobs.changes(job, left_s)


@dataclass(slots=True)
class _Events:
    """One reader's stream. `offsets` is where he is, by stream."""

    jobs: Jobs
    job: Job
    offsets: dict[int, int]

    async def write(self) -> AsyncIterator[bytes]:
        try:
            async for event in self._write_all():
                yield event
        except BridgeError as exc:
            # The status is sent already.
            yield self._build("error", {"code": exc.code, "error": exc.fault.title})

    async def _write_all(self) -> AsyncIterator[bytes]:
        yield self._build_progress()
        while True:
            is_over = self.job.state.is_end
            async for event in self._write_new(is_over):
                yield event
            if is_over:
                yield self._build_end() if self._has_all() else self._build_lost()
                return
            self.job = await self.jobs.changes(self.job, PROGRESS_S)
            yield self._build_progress()

    async def _write_new(self, is_over: bool) -> AsyncIterator[bytes]:
        for stream, name in _NAMES.items():
            while data := await self.jobs.read_output(self.job.id, stream, self.offsets[stream], PIECE_BYTES):
                cut = count_cut_bytes(data)
                if cut and (cut < len(data) or not is_over):
                    # The rest of the character is still to come.
                    data = data[: len(data) - cut]
                if not data:
                    break
                fields = {"stream": name, "offset": self.offsets[stream], **_encode(data)}
                self.offsets[stream] += len(data)
                yield self._build("output", fields)

    def _has_all(self) -> bool:
        """Tell whether all that was kept was sent: somebody may have deleted the job, or read it once, meanwhile."""
        kept = {STDOUT: self.job.stdout_bytes, STDERR: self.job.stderr_bytes}
        return all(self.offsets[stream] >= count for stream, count in kept.items())

    def _build_lost(self) -> bytes:
        return self._build("error", {"code": "output_lost", "error": "Some of the output is gone: it was deleted"})

    def _build_progress(self) -> bytes:
        job = self.job
        elapsed_s = 0.0 if job.started_at is None else (job.ended_at or time.time()) - job.started_at
        fields = {
            "status": job.state.value,
            "elapsed_s": round(max(0.0, elapsed_s), 3),
            "stdout_bytes": job.stdout_bytes,
            "stderr_bytes": job.stderr_bytes,
        }
        return self._build("progress", fields)

    def _build_end(self) -> bytes:
        fields = {"key": self.job.key, "status": self.job.state.value, "returncode": find_returncode(self.job)}
        return self._build("end", fields)

    def _build(self, event: str, fields: Mapping[str, object]) -> bytes:
        place = f"{self.offsets[STDOUT]}-{self.offsets[STDERR]}"
        return f"event: {event}\nid: {place}\ndata: {json.dumps(fields)}\n\n".encode("ascii")


def _encode(data: bytes) -> dict[str, object]:
    try:
        return {"text": data.decode()}
    except UnicodeDecodeError:
        return {"data_b64": base64.b64encode(data).decode("ascii")}


def _parse_stream(request: Request) -> int:
    name = request.query_params.get("stream", "stdout")
    if name not in STREAMS:
        raise RequestError("bad_request", f"stream: {name[:40]!a} is neither stdout nor stderr")
    return STREAMS[name]


def _parse_number(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not _NUMBER.fullmatch(text):
        raise RequestError("bad_request", f"{name}: {text[:40]!a} is no number of bytes")
    return int(text)


def _parse_event_id(text: str) -> dict[int, int]:
    if not text:
        return {STDOUT: 0, STDERR: 0}
    match = _EVENT_ID.fullmatch(text)
    if match is None:
        raise RequestError("bad_request", f"Last-Event-ID: {text[:40]!a} is none of ours")
    return {STDOUT: int(match[1]), STDERR: int(match[2])}
