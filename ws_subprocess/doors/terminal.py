"""The terminal door: `GET /ws`, a websocket onto a command. PROTOCOL.md, "Opening a terminal".

Laws: every refusal comes before the upgrade; a client that leaves while the controller is asked starts nothing; the
session is ended wholly before this door returns.
"""

import asyncio
import logging
from contextlib import AsyncExitStack

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.dialects.codec import Dialect
from ws_subprocess.dialects.native import SUBPROTOCOL, NativeDialect
from ws_subprocess.dialects.raw import RawDialect
from ws_subprocess.doors.handshake import (
    check_origin,
    check_path,
    get_peer,
    list_protocols,
    read_credentials,
    read_request,
    require_origin,
)
from ws_subprocess.doors.links import DirectLink, QueuedLink, find_channel
from ws_subprocess.doors.problems import build_response, refuse
from ws_subprocess.errors import BridgeError
from ws_subprocess.model import Credentials, LaunchRequest
from ws_subprocess.service.bridge import Bridge
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.session import Session
from ws_subprocess.telemetry import Metrics, request_id

DOOR = "terminal"

log = logging.getLogger(__name__)


class TerminalDoor:
    """The ASGI application behind `/ws`.

    Args:
        path: Its own path, as `check_path` wants it.
    """

    def __init__(self, launcher: Launcher, policy: OriginPolicy, metrics: Metrics, path: str = "/ws") -> None:
        self._launcher = launcher
        self._policy = policy
        self._metrics = metrics
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one websocket, from its handshake to the end of its session."""
        headers = Headers(scope=scope)
        offered = list_protocols(headers)
        request, credentials = LaunchRequest(DOOR, get_peer(scope)), None
        try:
            check_path(scope, self._path)
            check_origin(scope, headers, self._policy)
            require_origin(headers, self._policy)
            self._launcher.check_room(request.peer)
            credentials = read_credentials(scope, headers, offered)
            request = read_request(scope, DOOR)
        except BridgeError as exc:
            refusal: BridgeError | None = exc
        else:
            conversation = _Conversation(self._launcher, self._metrics, scope, receive, send)
            refusal = await conversation.run(credentials, request, SUBPROTOCOL in offered)
        if refusal is not None:
            self._launcher.note_refusal(refusal, request, credentials)
            await refuse(refusal, scope, receive, send)

    async def answer_plain(self, request: Request) -> Response:
        """Answer a request without an upgrade: why this token was refused a moment ago, or 426.

        A page of an allowed origin asks with an Authorization header, so its browser sends OPTIONS first (preflight).
        """
        headers = request.headers
        if request.method == "OPTIONS":
            response = Response(status_code=204, headers={"Allow": "GET, HEAD, OPTIONS"})
            self._share(headers, response)
            return response
        try:
            check_path(request.scope, self._path)
            check_origin(request.scope, headers, self._policy)
            self._launcher.check_room(get_peer(request.scope))
            error = self._launcher.explain_refusal(read_credentials(request.scope, headers, list_protocols(headers)))
        except BridgeError as exc:
            error = exc
        response = build_response(error, headers)
        self._share(headers, response)
        return response

    def _share(self, headers: Headers, response: Response) -> None:
        """Let a page of an allowed origin read this response."""
        origin = headers.get("origin")
        if origin is not None and self._policy.allows_origin(origin):
            response.headers["Access-Control-Allow-Origin"] = origin
            response.headers["Access-Control-Allow-Methods"] = "GET"
            response.headers["Access-Control-Allow-Headers"] = "authorization"
        response.headers.add_vary_header("Origin")


class _Conversation:
    """One websocket: its launch, its link, and the one task that listens to the client."""

    def __init__(self, launcher: Launcher, metrics: Metrics, scope: Scope, receive: Receive, send: Send) -> None:
        self._launcher = launcher
        self._metrics = metrics
        self._receive = receive
        self._send = send
        self._launching: asyncio.Timeout | None = None
        self._has_left = False
        channel = find_channel(scope)
        self._link = QueuedLink(send) if channel is None else DirectLink(channel)

    async def run(self, credentials: Credentials, request: LaunchRequest, is_native: bool) -> BridgeError | None:
        """Launch, converse, close; return why nothing was launched, None when something was or the client left."""
        refusal: BridgeError | None = None
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(self._listen())
            try:
                async with AsyncExitStack() as stack:
                    session = await self._launch(stack, credentials, request)
                    await self._converse(session, NativeDialect(session.grant.tty) if is_native else RawDialect())
            except _ClientLeftError:
                log.info("client left during handshake", extra={"peer": request.peer})
            except BridgeError as exc:
                refusal = exc
            finally:
                listener.cancel()
        return refusal

    async def _launch(self, stack: AsyncExitStack, credentials: Credentials, request: LaunchRequest) -> Session:
        try:
            # A timeout without a time: `_listen` moves it to now when the client leaves.
            async with asyncio.timeout(None) as self._launching:
                return await stack.enter_async_context(self._launcher.launch(credentials, request))
        except TimeoutError as exc:
            if not self._has_left:
                raise  # Somebody else's, and an error.
            raise _ClientLeftError from exc
        finally:
            self._launching = None

    async def _converse(self, session: Session, dialect: Dialect) -> None:
        if self._has_left:
            return
        bridge = Bridge(session, dialect, self._metrics, self._link.wake)
        session.start()
        try:
            headers = [(b"x-request-id", request_id.get().encode("ascii"))]
            await self._send({"type": "websocket.accept", "subprotocol": dialect.subprotocol, "headers": headers})
            await self._link.run(bridge)
            if not self._has_left and bridge.close is not None:
                await self._send({"type": "websocket.close", "code": bridge.close.code, "reason": bridge.close.reason})
        except OSError:
            # The server's word for a client that has gone while we were sending.
            log.debug("client left", extra={"session": session.id})
        finally:
            bridge.detach()

    async def _listen(self) -> None:
        while True:
            event = await self._receive()
            if event["type"] == "websocket.receive":
                text = event.get("text")
                await self._link.take(event["bytes"] if text is None else text)
            elif event["type"] == "websocket.disconnect":
                self._has_left = True
                self._link.stop()
                if self._launching is not None:
                    self._launching.reschedule(0)
                return


class _ClientLeftError(Exception):
    """The client went away before it was let in."""
