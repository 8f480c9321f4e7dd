"""How an error looks to an HTTP client: an RFC 9457 problem, or its bare title as text. PROTOCOL.md, "Errors"."""

import json
import logging
import re

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket

from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.telemetry import request_id

log = logging.getLogger(__name__)

_JSON = re.compile(r"application/(problem\+)?json", re.IGNORECASE)
# The rest of the body would stand where the next request should begin.
_BODY_UNREAD = ("too_big", "request_timeout")


def build_response(error: BridgeError, headers: Headers) -> Response:
    """Return the answer for an error, in the form that the request accepts."""
    extra = {"Cache-Control": "no-store", "Vary": "Accept"}
    if error.retry_after_s is not None:
        extra["Retry-After"] = str(error.retry_after_s)
    if error.code == "upgrade_required":
        extra |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    if error.code == "unauthorized":
        extra["WWW-Authenticate"] = "Bearer"
    if error.code in _BODY_UNREAD:
        extra["Connection"] = "close"
    cause = request_id.get()
    if cause:
        # Again by the middleware, but not for a websocket's handshake.
        extra["X-Request-Id"] = cause
    if not _JSON.search(headers.get("accept", "")):
        return Response(error.fault.title, error.fault.status, extra, "text/plain; charset=utf-8")
    problem = {"type": "about:blank", "title": error.fault.title, "status": error.fault.status, "code": error.code}
    if error.detail and error.detail_is_public:
        problem["detail"] = error.detail
    if cause:
        problem["request_id"] = cause
    return Response(json.dumps(problem), error.fault.status, extra, "application/problem+json")


async def refuse(error: BridgeError, scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request with an error; a websocket's handshake too where the server can, else with its plain 403."""
    response = build_response(error, Headers(scope=scope))
    try:
        if scope["type"] == "http":
            await response(scope, receive, send)
        elif "websocket.http.response" in (scope.get("extensions") or {}):
            await WebSocket(scope, receive, send).send_denial_response(response)
        else:
            await send({"type": "websocket.close", "code": error.fault.close_code})
    except OSError:
        log.debug("client left before it was refused")


async def refuse_path(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer a request, or a websocket's handshake, for a path where there is nothing."""
    await refuse(RequestError("not_found"), scope, receive, send)


def explain_status(request: Request, error: Exception) -> Response:
    """Return our answer for a status that a route found by itself: 404 or 405."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        return build_response(RequestError("not_found"), request.headers)
    response = build_response(RequestError("method_not_allowed"), request.headers)
    response.headers.update({"Allow": "GET, HEAD", **(error.headers or {})})
    return response
