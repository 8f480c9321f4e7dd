"""The process door: `POST /process` runs a command and streams its output. PROTOCOL.md, "The process door".

Laws: the alias is taken before the command starts and given back when nothing is left of it, on every way out; a client
that leaves ends the whole tree at once, also in silence; the answer ends when nothing is left of the tree; one that
lacks something never ends cleanly.
"""

import asyncio
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ws_subprocess.doors.bearer import Threshold
from ws_subprocess.doors.bodies import BodyLimits, check_encoding, read_json
from ws_subprocess.doors.handshake import check_path, get_peer
from ws_subprocess.doors.problems import build_response, refuse
from ws_subprocess.doors.process_request import (
    ProcessRequest,
    choose_form,
    parse_header,
    parse_request,
    streams_input,
)
from ws_subprocess.doors.process_stream import STALL_TIMEOUT_S, ClientLeftError, ProcessStream
from ws_subprocess.errors import BridgeError, RequestError, SpawnError
from ws_subprocess.model import TO_WATCH, LaunchRequest, Right

DOOR = "process"
PATH = "/process"
# Who may only watch a command does not give it input.
_TO_TYPE = TO_WATCH | {Right.WRITE}
_INVALID = ("bad_json", "bad_schema", "bad_alias", "bad_cwd", "bad_timeout")

log = logging.getLogger(__name__)


class ProcessDoor:
    """The ASGI application behind `/process`.

    Attributes:
        stall_timeout_s: How long a client may take nothing of its answer.
    """

    def __init__(self, threshold: Threshold, limits: BodyLimits) -> None:
        self.stall_timeout_s = STALL_TIMEOUT_S
        self._threshold = threshold
        self._limits = limits
        self._aliases: set[str] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run one command, from its request to its end."""
        request, launcher = Request(scope, receive), self._threshold.launcher
        wanted = LaunchRequest(DOOR, get_peer(scope), has_tty=False)
        try:
            _check_target(scope)
            credentials = self._threshold.admit_start(request)
            asked = await self._read(request)
            wanted = replace(wanted, proposal=asked.proposal, needs=TO_WATCH if asked.stdin == b"" else _TO_TYPE)
            stream = ProcessStream(scope, receive, send, choose_form(request.headers), asked, self.stall_timeout_s)
            await stream.run(launcher, credentials, wanted, lambda _: self._hold(asked.alias))
        except (ClientDisconnect, ClientLeftError):
            log.info("client left before its command started", extra={"peer": wanted.peer})
        except BridgeError as exc:
            # Without the token: `/ws` explains why a terminal was refused, not this.
            launcher.note_refusal(exc, wanted)
            await build_refusal(exc, request.headers)(scope, receive, send)

    async def _read(self, request: Request) -> ProcessRequest:
        # On a thread: the client names the folders (PATH) where its command is looked for, and some disks are slow.
        form = choose_form(request.headers)
        if streams_input(request.headers):
            check_encoding(request.headers)
            return await asyncio.to_thread(parse_request, parse_header(request.headers), form, has_body=True)
        body = await read_json(request, self._limits)
        return await asyncio.to_thread(parse_request, body, form, has_body=False)

    @contextmanager
    def _hold(self, alias: str) -> Iterator[None]:
        if alias in self._aliases:
            raise RequestError("alias_running", f"alias {alias!a}: its command has not ended")
        self._aliases.add(alias)
        try:
            yield
        finally:
            self._aliases.discard(alias)


def build_refusal(error: BridgeError, headers: Headers) -> Response:
    """Return the answer for an error: as rexec gives it, unless the client accepts problems (RFC 9457)."""
    if isinstance(error, SpawnError):
        error = RequestError("start_failed", _explain_start(error))
    if "application/problem+json" in headers.get("accept", "").lower():
        return build_response(error, headers)
    match error.code:
        case "start_failed":
            return _build_text(404, "FailedToExecuteProcess", error.detail)
        case "alias_running":
            return _build_text(409, "AlreadyRunning", "")
        case code if code in _INVALID:
            return _build_text(500, "InvalidCreateProcessRequest", error.detail)
        case _:
            return build_response(error, headers)


def build_alone(door: ASGIApp) -> ASGIApp:
    """Return the application of a listener that leads to this door only: whatever else is asked for is not there."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"] == PATH:
            await door(scope, receive, send)
        else:
            await refuse(RequestError("not_implemented"), scope, receive, send)

    return serve


def _check_target(scope: Scope) -> None:
    if scope["method"] != "POST":
        raise RequestError("not_implemented")
    try:
        check_path(scope, PATH)
    except RequestError as exc:
        raise RequestError("not_implemented") from exc


def _explain_start(error: SpawnError) -> str:
    """Return the system's own words: what was started is perhaps not what was proposed, and nobody's business."""
    cause = error.__cause__
    if not isinstance(cause, OSError) or cause.errno is None:
        return error.fault.title
    return f"{os.strerror(cause.errno)} (os error {cause.errno})"


def _build_text(status: int, kind: str, detail: str) -> Response:
    text = f"[Rexec] {kind} : {json.dumps(detail, ensure_ascii=False)}"
    return Response(text, status, {"Cache-Control": "no-store", "Vary": "Accept", "X-Content-Type-Options": "nosniff"})
