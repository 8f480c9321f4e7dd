"""What every request must pass before a route sees it, and what every answer carries.

Laws: a page answers only under its own address; a POST comes from one of its own pages; nothing may be loaded, framed
or sent anywhere unless the Content-Security-Policy of that very page names it.
"""

from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTROLLER_PATH = "/ws-controller"

POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)

HEADERS = {
    "Content-Security-Policy": POLICY,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-store",
}


def terminal_policy(daemon: str) -> str:
    """Return the policy of the page with the terminal: `POLICY`, and what `<ws-terminal>` needs from the daemon."""
    parts = urlsplit(daemon)
    origin = f"{parts.scheme}://{parts.netloc}"
    websocket = f"{'wss' if parts.scheme == 'https' else 'ws'}://{parts.netloc}"
    return f"{POLICY}; script-src {origin}; connect-src 'self' {origin} {websocket}"


class Guard:
    """ASGI middleware. `origin` is the address of these pages, such as `http://127.0.0.1:8867`."""

    def __init__(self, app: ASGIApp, origin: str) -> None:
        self._app = app
        self._origin = origin

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on and add `HEADERS` where the answer has none of that name."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        refusal = self._refusal(scope)
        app = self._app if refusal is None else refusal
        await app(scope, receive, send_guarded)

    def _refusal(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        # Somebody else's name may be pointed at this machine (DNS rebinding): to a browser, their page were then ours.
        # The daemon brings no cookie, only a token, and may know us by another name.
        if scope["path"] != CONTROLLER_PATH and headers.get("host") != urlsplit(self._origin).netloc:
            return PlainTextResponse(f"This address is not served here. Open {self._origin}/\n", 421)
        if scope["method"] == "POST" and not self._is_own_page(headers):
            return PlainTextResponse("This form was sent from another site's page and was not used.\n", 403)
        return None

    def _is_own_page(self, headers: Headers) -> bool:
        # SameSite=Strict cookies alone would not do: another port of this host, such as the daemon's, is the same site.
        # The form of a page with `no-referrer` sends `Origin: null`, but Sec-Fetch-Site still tells, and no script can
        # set it. Browsers send it over https and to loopback; clients without it must send Origin.
        site = headers.get("sec-fetch-site")
        return site == "same-origin" if site is not None else headers.get("origin") == self._origin
