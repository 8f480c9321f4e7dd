"""The RPC door: one route that takes calls by POST, in weeRPC or JSON-RPC. PROTOCOL.md, "Calling functions".

Laws: whatever a call comes to is HTTP 200, because that is how weeRPC says it (204 when there is nothing to say);
other statuses mean that no call was looked at.
"""

import logging
from collections.abc import Callable
from functools import partial

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from ws_subprocess.doors.bearer import Threshold
from ws_subprocess.doors.bodies import BodyLimits, is_json, read_body
from ws_subprocess.doors.departures import while_client_stays
from ws_subprocess.doors.handshake import check_path, get_peer
from ws_subprocess.doors.problems import build_response
from ws_subprocess.errors import BridgeError
from ws_subprocess.model import LaunchRequest
from ws_subprocess.service.calls import Dispatcher
from ws_subprocess.service.functions import Caller

DOOR = "rpc"
_HEADERS = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"}
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}

log = logging.getLogger(__name__)


class RpcDoor:
    """One route.

    Args:
        admit: Returns who a request is from; may raise `BridgeError`.
    """

    def __init__(self, dispatcher: Dispatcher, admit: Callable[[Request], Caller], limits: BodyLimits) -> None:
        self._dispatcher = dispatcher
        self._admit = admit
        self._limits = limits

    async def answer(self, request: Request) -> Response:
        """Answer one POST."""
        try:
            caller = self._admit(request)
            # A page of another site can send anything but JSON without being asked first (CORS, "simple request").
            body = await self._read(request) if is_json(request.headers) else None
            text = await self._dispatcher.answer(body, caller)
        except BridgeError as exc:
            return build_response(exc, request.headers)
        except ClientDisconnect:
            log.debug("client left before its call had come")
            return Response(status_code=400)
        if text is None:
            return Response(status_code=204, headers=_HEADERS)
        return Response(text, headers=_HEADERS, media_type="application/json")

    async def _read(self, request: Request) -> bytes:
        return await read_body(request, self._limits)


def admit_bearers(threshold: Threshold, path: str) -> Callable[[Request], Caller]:
    """Return an `admit` for callers who show a token.

    Args:
        path: The route's own, as `check_path` wants it.
    """

    def admit(request: Request) -> Caller:
        peer = get_peer(request.scope)
        try:
            check_path(request.scope, path)
            return Caller(peer, credentials=threshold.admit(request), staying=partial(while_client_stays, request))
        except BridgeError as exc:
            threshold.launcher.note_refusal(exc, LaunchRequest(DOOR, peer))
            raise

    return admit


def read_host(request: Request) -> str:
    """Return the Host header without the port that the scheme has anyway, "" when there is none."""
    scheme: str = request.scope["scheme"]
    return request.headers.get("host", "").removesuffix(_DEFAULT_PORTS.get(scheme, ":"))
