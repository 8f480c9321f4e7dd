"""The command door: named commands as jobs over HTTP, as Flask-Shell2HTTP's clients know them. PROTOCOL.md, "Commands".

Laws: HEAD consumes nothing; a result that is read once is gone when the last of it is sent, not before; a client that
leaves waits for nothing any more.
"""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ws_subprocess.doors.bodies import read_body
from ws_subprocess.doors.command_access import Access, Admission
from ws_subprocess.doors.command_answers import (
    NoKeyError,
    answer,
    describe_job,
    describe_running,
    describe_taken,
    get_base_url,
    refuse_request,
)
from ws_subprocess.doors.command_starts import Starts, TakenError
from ws_subprocess.doors.departures import until_client_leaves
from ws_subprocess.doors.handshake import check_path
from ws_subprocess.doors.job_output import answer_events, answer_output, wants_events
from ws_subprocess.doors.proposals import parse_seconds
from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.model import Right
from ws_subprocess.service.job import Job, JobState, Retention
from ws_subprocess.service.jobs import Jobs
from ws_subprocess.service.reports import explain_failure, write_report

ENDS = ("", "/output", "/input", "/jobs")
"""What follows a command's path in those of its routes."""
LIST_MAX = 1000
_LIST_DEFAULT = 100
_WHOLE_MAX_BYTES = 256 * 1024
_WAIT_MAX_S = 31_536_000.0
_INPUT_WAIT_S = 30.0
_COUNT = re.compile(r"[0-9]{1,9}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,6})?")

Endpoint = Callable[[Request], Awaitable[Response]]
Decorator = Callable[[Endpoint], Callable[[Request], object]]


@dataclass(frozen=True, slots=True)
class CommandDoor:
    """One command's routes.

    Args:
        path: Where it is, for `check_path`.
    """

    path: str
    admission: Admission
    access: Access
    starts: Starts

    def build_routes(self, decorators: tuple[Decorator, ...] = ()) -> list[Route]:
        """Return the routes; each endpoint is wrapped by the decorators, of which the last is the outermost."""
        endpoints: list[tuple[Endpoint, list[str]]] = [
            (self._serve, ["GET", "POST", "DELETE"]),
            (self._get_output, ["GET"]),
            (self._post_input, ["POST"]),
            (self._get_jobs, ["GET"]),
        ]
        return [
            Route(self.path + end, _decorate(_refusing(self, endpoint, self.path + end), decorators), methods=methods)
            for end, (endpoint, methods) in zip(ENDS, endpoints, strict=True)
        ]

    @property
    def _jobs(self) -> Jobs:
        return self.access.jobs

    async def _serve(self, request: Request) -> Response:
        match request.method:
            case "POST":
                return await self._post(request)
            case "DELETE":
                return await self._delete(request)
            case _:
                return await self._get(request)

    async def _post(self, request: Request) -> Response:
        credentials = self.admission.admit_start(request)
        try:
            job = await self.starts.start(request, credentials)
        except TakenError as exc:
            return answer(describe_taken(request, exc.job), 400)
        return answer(describe_running(request, job), 202)

    async def _get(self, request: Request) -> Response:
        job = await self._find(request, Right.VIEW, "report")
        if wants_events(request):
            return answer_events(request, self._jobs, job)
        if request.query_params.get("wait", "").lower() == "true" and request.method != "HEAD":
            job = await self._wait(request, job, _parse_wait(request))
        if not job.state.is_end:
            return answer(describe_running(request, job))
        return await self._report(request, job)

    async def _delete(self, request: Request) -> Response:
        job = await self._find(request, Right.KILL, "job")
        await self._jobs.forget(job.id)
        return Response(status_code=204)

    async def _get_output(self, request: Request) -> Response:
        job = await self._find(request, Right.VIEW, "job")
        if wants_events(request):
            return answer_events(request, self._jobs, job)
        return await answer_output(request, self._jobs, job)

    async def _post_input(self, request: Request) -> Response:
        job = await self._find(request, Right.WRITE, "job")
        limits = self.starts.limits.body
        data = await read_body(request, limits)
        try:
            async with until_client_leaves(request), asyncio.timeout(_INPUT_WAIT_S):
                while job.state is JobState.PENDING:
                    job = await self._jobs.changes(job, _INPUT_WAIT_S)
                is_taken = not data or await self._jobs.write_input(job.id, data)
        except TimeoutError as exc:
            raise RequestError("request_timeout", f"the command read nothing within {_INPUT_WAIT_S:g} s") from exc
        if is_taken and request.query_params.get("end", "").lower() == "true":
            is_taken = await self._jobs.end_input(job.id)
        if not is_taken:
            raise RequestError("not_running", "it takes no input: not running, or started without keep_stdin")
        return Response(status_code=204)

    async def _get_jobs(self, request: Request) -> Response:
        credentials = self.admission.admit(request)
        limit = _parse_limit(request)
        page = await self.access.list(request, credentials, request.query_params.get("after", "")[:64], limit)
        base_url = get_base_url(request).removesuffix("/jobs")
        lines = [describe_job(base_url, job) for job in page.jobs]
        return answer({"jobs": lines, "after": page.after or None})

    async def _find(self, request: Request, right: Right, what: str) -> Job:
        """Return the job that the query's `key` names.

        Raises:
            BridgeError: There is none, or none for this client.
        """
        credentials = self.admission.admit(request)
        key = request.query_params.get("key")
        if not key:
            raise NoKeyError
        job = await self.access.find(request, credentials, key[:64], right)
        if job is None:
            raise RequestError("job_unknown", f"No {what} exists for key: '{key[:64]}'.")
        return job

    async def _wait(self, request: Request, job: Job, timeout_s: float) -> Job:
        """Return the job when it has ended, or as it is after `timeout_s`.

        Raises:
            ClientDisconnect: The client left first.
        """
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        async with until_client_leaves(request):
            while not job.state.is_end and (left_s := deadline_s - asyncio.get_running_loop().time()) > 0:
                job = await self._jobs.wait(job.id, left_s)
        return job

    async def _report(self, request: Request, job: Job) -> Response:
        is_read_once = job.retention is Retention.ONCE and request.method != "HEAD"
        if job.state is JobState.FAILED and "result" not in job.facts:
            if is_read_once:
                await self._take(request, job)
            return answer({"error": explain_failure(job), "key": job.key}, 400)
        if request.method == "HEAD":
            # Its length would have to be the report's, or not be told (RFC 9110, section 8.6).
            response = Response(None, 200, {"Cache-Control": "no-store"}, "application/json")
            del response.headers["content-length"]
            return response
        pieces = write_report(job, lambda *span: self._jobs.read_output(job.id, *span))
        headers = {"Cache-Control": "no-store"}
        if job.stdout_bytes + job.stderr_bytes > _WHOLE_MAX_BYTES:
            pieces = self._forget_at_end(job, pieces) if is_read_once else pieces
            return StreamingResponse(pieces, 200, headers, "application/json")
        report = b"".join([piece async for piece in pieces])
        if is_read_once:
            await self._take(request, job)
        return Response(report, 200, headers, "application/json")

    async def _take(self, request: Request, job: Job) -> None:
        """Forget what is about to be sent.

        Raises:
            RequestError: `job_unknown`: of several that read at once, another one has it.
            ClientDisconnect: There is nobody to send it to.
        """
        if await request.is_disconnected():
            raise ClientDisconnect
        if not await self._jobs.forget(job.id):
            raise RequestError("job_unknown", f"No report exists for key: '{job.key}'.")

    async def _forget_at_end(self, job: Job, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        """Pass the pieces on, the last byte when the job is forgotten: of several that read at once, one has it all."""
        held = b""
        async for piece in pieces:
            piece = held + piece
            yield piece[:-1]
            held = piece[-1:]
        if await self._jobs.forget(job.id):
            yield held


def _decorate(endpoint: Endpoint, decorators: tuple[Decorator, ...]) -> Endpoint:
    """Return `endpoint` wrapped by all decorators, which may return what is no coroutine."""
    decorated: Callable[[Request], object] = endpoint
    for decorator in decorators:
        decorated = decorator(decorated)  # type: ignore[arg-type]  # What the first returns, the next one takes.

    async def serve(request: Request) -> Response:
        if inspect.iscoroutinefunction(decorated):
            response = await decorated(request)
        else:
            # It may block.
            response = await asyncio.to_thread(decorated, request)
            if inspect.isawaitable(response):
                response = await response
        if not isinstance(response, Response):
            raise TypeError(f"a decorator of {request.url.path} returned a {type(response).__name__}, not a Response")
        return response

    return serve


def _refusing(door: CommandDoor, endpoint: Endpoint, path: str) -> Endpoint:
    """Return `endpoint`, which answers with its errors."""

    async def serve(request: Request) -> Response:
        try:
            check_path(request.scope, path)
            return await endpoint(request)
        except ClientDisconnect:
            return Response(status_code=400)  # For nobody.
        except BridgeError as exc:
            door.access.note_refusal(exc, request)
            return refuse_request(exc, request)

    return serve


def _parse_wait(request: Request) -> float:
    text = request.query_params.get("timeout")
    if text is None:
        return _WAIT_MAX_S
    if not _NUMBER.fullmatch(text):
        raise RequestError("bad_timeout", f"timeout: {text[:40]!a} is no number of seconds")
    return parse_seconds("timeout", float(text))


def _parse_limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_LIST_DEFAULT))
    if not _COUNT.fullmatch(text) or not 1 <= int(text) <= LIST_MAX:
        raise RequestError("bad_request", f"limit: {text[:40]!a} is not in 1..{LIST_MAX}")
    return int(text)
