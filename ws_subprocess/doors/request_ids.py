"""Request ids: every request has one, its answer and all that is logged on its account tell it.

Law: a client's own id is taken only where it can do no harm in a log; any other is replaced, not refused.
"""

import re
import secrets

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ws_subprocess.telemetry import request_id

HEADER = "X-Request-Id"
PATTERN = "[A-Za-z0-9._-]{1,128}"
_NAME = HEADER.lower().encode("ascii")
_ID = re.compile(PATTERN.encode("ascii"))


class RequestIds:
    """ASGI middleware: names each request, and puts the name into the answer.

    A websocket's messages pass untouched; its refusal and its handshake are answered with the id by who builds them.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        chosen = choose_id(scope["headers"])
        line = (_NAME, chosen.encode("ascii"))

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [header for header in message.get("headers", ()) if header[0].lower() != _NAME]
                message = {**message, "headers": [*kept, line]}
            await send(message)

        token = request_id.set(chosen)
        try:
            await self._app(scope, receive, send_with_id if scope["type"] == "http" else send)
        finally:
            request_id.reset(token)


def choose_id(headers: list[tuple[bytes, bytes]]) -> str:
    """Return the one id that the client gave, if it can be used, else a new one."""
    given = [value for name, value in headers if name == _NAME]
    if len(given) == 1 and _ID.fullmatch(given[0]):
        return given[0].decode("ascii")
    return secrets.token_hex(8)
