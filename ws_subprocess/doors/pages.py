"""The page and its files. Files may be used by the pages of allowed origins too; nothing else of this daemon may."""

from pathlib import Path

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import FileResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.doors.handshake import check_origin
from ws_subprocess.doors.problems import refuse, refuse_path
from ws_subprocess.errors import BridgeError

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
        "require-trusted-types-for 'script'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Guard:
    """ASGI middleware: refuses foreign Hosts, adds security headers, lets allowed origins read what `is_shared`.

    Args:
        is_shared: True for files that pages of allowed origins may load; False refuses every foreign origin.
    """

    def __init__(self, app: ASGIApp, policy: OriginPolicy, is_shared: bool) -> None:
        self._app = app
        self._policy = policy
        self._is_shared = is_shared

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await refuse_path(scope, receive, send)
            return
        headers = Headers(scope=scope)
        try:
            check_origin(scope, headers, self._policy)
        except BridgeError as exc:
            await refuse(exc, scope, receive, send)
            return
        extra = dict(SECURITY_HEADERS)
        origin = headers.get("origin")
        if self._is_shared:
            # Modules name each other without a version: one that is out of date would meet one that is not.
            extra |= {"Cache-Control": "no-cache", "Cross-Origin-Resource-Policy": "cross-origin", "Vary": "Origin"}
            if origin is not None and self._policy.allows_origin(origin):
                extra["Access-Control-Allow-Origin"] = origin

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(extra)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def find_static() -> Path:
    """Return the folder of the page's files: inside an installed package, else in the checkout.

    Raises:
        FileNotFoundError: Neither is there.
    """
    package = Path(__file__).resolve().parent.parent
    for folder in (package / "static", package.parent / "static"):
        if (folder / "index.html").is_file():
            return folder
    raise FileNotFoundError(f"{package / 'static'}: the page's files are missing; reinstall the package")


def build_index(folder: Path) -> ASGIApp:
    """Return the application that answers with the page."""

    async def index(scope: Scope, receive: Receive, send: Send) -> None:
        # The page is small and names its scripts without a version, so it is asked for anew each time.
        response: Response = FileResponse(folder / "index.html", headers={"Cache-Control": "no-cache"})
        await response(scope, receive, send)

    return index


def build_files(folder: Path) -> ASGIApp:
    """Return the application that serves the page's files."""
    return StaticFiles(directory=folder)
