"""The payload door: `/payloads`, commands that clients propose, as jobs. PROTOCOL.md, "The payload door".

Laws: who may look at a payload is who shows the token that began it, or one of the same principal; to everybody else it
does not exist; looking takes nothing away.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route
from starlette.types import Receive, Scope, Send

from ws_subprocess.doors.bearer import Threshold
from ws_subprocess.doors.bodies import BodyLimits, parse_body, read_body
from ws_subprocess.doors.handshake import check_path, get_peer
from ws_subprocess.doors.job_output import answer_output
from ws_subprocess.doors.payload_answers import (
    CMD,
    PARAMS,
    STDERR_HEAD,
    STDERR_HEAD_BYTES,
    describe,
    describe_output,
    write,
)
from ws_subprocess.doors.problems import build_response
from ws_subprocess.doors.proposals import build_proposal, parse_timeout
from ws_subprocess.errors import BridgeError, GateError, RequestError
from ws_subprocess.model import STDERR, STDOUT, TO_WATCH, Credentials, LaunchRequest, Proposal, Right
from ws_subprocess.service.job import Job, JobSpec, Owner, Retention
from ws_subprocess.service.jobs import Jobs

DOOR = "payloads"
PATH = "/payloads"
PAGE_MAX = 1000
_PAGE = 100
_OUTPUT_MAX_BYTES = 1024 * 1024
_RIGHTS = "rights"

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PayloadRequest:
    """What is to be run, as it was asked for, and as it is proposed."""

    cmd: str
    params: tuple[str, ...]
    timeout_s: float | None
    proposal: Proposal


def parse_request(value: object) -> PayloadRequest:
    """Return what a request's JSON asks for: `cmd` and `params`, or `Cmd` and `Params`; other keys are ignored.

    Raises:
        RequestError: `bad_schema` or `bad_timeout`.
    """
    if not isinstance(value, dict):
        raise RequestError("bad_schema", "not a JSON object")
    cmd, params = _pick(value, "cmd", "Cmd"), _pick(value, "params", "Params")
    if not isinstance(params, list) or not all(isinstance(item, str) for item in params):
        raise RequestError("bad_schema", "params: not a list of strings")
    proposal = build_proposal(cmd, params, None, {})
    return PayloadRequest(str(cmd), tuple(params), parse_timeout(value.get("timeout")), proposal)


def _pick(given: dict[str, Any], *names: str) -> Any:
    found = [name for name in names if name in given]
    if len(found) != 1:
        raise RequestError("bad_schema", f"give one of {' and '.join(names)}, once")
    return given[found[0]]


class PayloadDoor:
    """The routes below `/payloads`.

    Args:
        base_path: What stands before them.
        ttl_s: How long results are kept.
    """

    def __init__(self, threshold: Threshold, jobs: Jobs, limits: BodyLimits, ttl_s: float, base_path: str = "") -> None:
        self._threshold = threshold
        self._jobs = jobs
        self._limits = limits
        self._ttl_s = ttl_s
        self._path = base_path + PATH
        jobs.on_end(self._keep_stderr)

    def build_routes(self) -> list[BaseRoute]:
        """Return the routes."""
        one = f"{PATH}/{{id}}"
        return [
            self._route(PATH, {"GET": self._list, "HEAD": self._list, "POST": self._submit}),
            self._route(one, {"GET": self._get, "HEAD": self._get, "DELETE": self._delete}),
            self._route(f"{one}/output", {"GET": self._get_output, "HEAD": self._get_output}),
        ]

    def _route(self, path: str, endpoints: "_Endpoints") -> Route:
        return Route(path, _Resource(self._threshold, path, endpoints))

    async def _submit(self, request: Request) -> Response:
        credentials = self._threshold.admit_start(request)
        # Of any type: curl -d says it sends a form. A page of a foreign site cannot send the token's header, so this
        # is no way around the same-origin policy.
        body = parse_body(await read_body(request, self._limits))
        # On a thread: a command is looked for in folders, and some disks are slow.
        asked = await asyncio.to_thread(parse_request, body)
        wanted = LaunchRequest(DOOR, get_peer(request.scope), None, asked.proposal, TO_WATCH, has_tty=False)
        grant = await self._threshold.launcher.authorize(credentials, wanted, lambda _: self._jobs.check_room())
        spec = JobSpec(
            door=DOOR,
            name="",
            grant=grant,
            owner=Owner(credentials.token_hash, grant.principal),
            timeout_s=asked.timeout_s,
            ttl_s=self._ttl_s,
            retention=Retention.KEEP,
            facts={CMD: asked.cmd, PARAMS: list(asked.params), _RIGHTS: sorted(grant.rights)},
        )
        job = await self._jobs.submit(spec, wanted)
        return _answer(describe(job), 201, {"Location": f"{self._path}/{job.id}"})

    async def _list(self, request: Request) -> Response:
        credentials = self._threshold.admit(request)
        limit, after = _parse_limit(request), request.query_params.get("after", "")
        owner, refusal = Owner(credentials.token_hash), None
        try:
            owner = replace(owner, principal=await self._find_principal(request, credentials, Right.VIEW))
        except GateError as exc:
            refusal = exc
        page = await self._jobs.list(DOOR, "", owner, after, limit)
        if refusal is not None and not page.jobs and not after:
            raise refusal
        headers = {}
        if page.after:
            query = urlencode({"limit": limit, "after": page.after})
            headers["Link"] = f'<{self._path}?{query}>; rel="next"'
        return _answer([describe(job) for job in page.jobs], 200, headers)

    async def _get(self, request: Request) -> Response:
        job = await self._find(request, Right.VIEW)
        outputs = await asyncio.gather(
            *(self._jobs.read_output(job.id, stream, 0, _OUTPUT_MAX_BYTES) for stream in (STDOUT, STDERR))
        )
        fields = describe(job)
        for name, data in zip(("output", "error_output"), outputs, strict=True):
            fields |= describe_output(name, data)
        fields["is_truncated"] |= max(job.stdout_bytes, job.stderr_bytes) > _OUTPUT_MAX_BYTES
        return _answer(fields)

    async def _get_output(self, request: Request) -> Response:
        return await answer_output(request, self._jobs, await self._find(request, Right.VIEW))

    async def _delete(self, request: Request) -> Response:
        job = await self._find(request, Right.KILL)
        if not await self._jobs.forget(job.id):
            raise RequestError("job_unknown")
        return Response(status_code=204, headers={"Cache-Control": "no-store"})

    async def _find(self, request: Request, right: Right) -> Job:
        credentials = self._threshold.admit(request)
        job = await self._jobs.get(request.path_params["id"])
        if job is not None and job.door != DOOR:
            job = None
        token_hash = credentials.token_hash
        if job is not None and job.owner.has_token(token_hash):
            if right not in job.facts[_RIGHTS]:
                raise GateError("right_missing", f"the grant's rights lack {right}")
            return job
        # Also where there is none: the gate's answer, or its silence, must not tell.
        proposal = None if job is None else Proposal(job.command, job.args)
        try:
            principal = await self._find_principal(request, credentials, right, proposal)
        except GateError as exc:
            if exc.fault.status != 403:
                raise
            raise RequestError("job_unknown") from exc
        if job is None or not job.owner.is_same(Owner(token_hash, principal)):
            raise RequestError("job_unknown")
        return job

    async def _find_principal(
        self, request: Request, credentials: Credentials, right: Right, proposal: Proposal | None = None
    ) -> str:
        wanted = LaunchRequest(DOOR, get_peer(request.scope), None, proposal, frozenset({right}), has_tty=False)
        return (await self._threshold.launcher.authorize(credentials, wanted)).principal

    async def _keep_stderr(self, job: Job) -> Mapping[str, Any] | None:
        if job.door != DOOR or job.stderr_bytes == 0:
            return None
        data = await self._jobs.read_output(job.id, STDERR, 0, STDERR_HEAD_BYTES)
        return {STDERR_HEAD: data.decode(errors="replace").rstrip()}


_Endpoints = Mapping[str, Callable[[Request], Awaitable[Response]]]


class _Resource:
    """An ASGI application that answers some methods at one path, and turns errors into answers."""

    def __init__(self, threshold: Threshold, path: str, endpoints: _Endpoints) -> None:
        self._threshold = threshold
        self._path = path
        self._endpoints = endpoints

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        request = Request(scope, receive)
        endpoint = self._endpoints.get(request.method)
        try:
            check_path(scope, self._path.format(**request.path_params))
            if endpoint is None:
                raise RequestError("method_not_allowed")
            response = await endpoint(request)
        except ClientDisconnect:
            log.info("client left before its request was complete", extra={"peer": get_peer(scope)})
            return
        except BridgeError as exc:
            self._threshold.launcher.note_refusal(exc, LaunchRequest(DOOR, get_peer(scope)))
            response = build_response(exc, request.headers)
            if exc.code == "method_not_allowed":
                response.headers["Allow"] = ", ".join(self._endpoints)
        await response(scope, receive, send)


def _parse_limit(request: Request) -> int:
    text = request.query_params.get("limit", str(_PAGE))
    if not (text.isascii() and text.isdecimal() and len(text) <= 4 and 1 <= int(text) <= PAGE_MAX):
        raise RequestError("bad_schema", f"limit: {text[:20]!a} is not in 1..{PAGE_MAX}")
    return int(text)


def _answer(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    extra = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", **(headers or {})}
    return Response(write(value), status, extra, "application/json")
