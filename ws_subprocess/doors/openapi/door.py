"""Serves the description: for programs as `/openapi.json`, for people as the page `/docs`."""

import json
from pathlib import Path

from starlette.responses import FileResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from ws_subprocess.doors.openapi.answers import Json

OPENAPI_PATH = "/openapi.json"
DOCS_PATH = "/docs"


def build_openapi(document: Json) -> ASGIApp:
    """Return the application that answers with a description."""
    text = json.dumps(document, separators=(",", ":"))

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        # Where we are is known to who asked, also below another application's path.
        servers = json.dumps([{"url": scope.get("root_path", "") or "/"}])
        body = f'{{"servers":{servers},{text[1:]}'
        await Response(body, headers={"Cache-Control": "no-cache"}, media_type="application/json")(scope, receive, send)

    return serve


def build_docs(folder: Path) -> ASGIApp:
    """Return the application that answers with the page."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        response: Response = FileResponse(folder / "api.html", headers={"Cache-Control": "no-cache"})
        await response(scope, receive, send)

    return serve
