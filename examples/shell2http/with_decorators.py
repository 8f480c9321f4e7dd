"""Who may ask: decorators around the endpoint, an `async` function from a request to a response.

They are applied from left to right, so that the last one is the outermost and sees the request first. They stand
before everything that the endpoint does: starting, fetching, reading along and stopping.
"""

import asyncio
import functools
import hmac

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ws_subprocess.doors.commands import Endpoint
from ws_subprocess.shell2http import Shell2HTTP

PASSWORD = "open sesame"  # noqa: S105 - an example's

app = Starlette()
shell2http = Shell2HTTP(app, base_url_prefix="/cmd/")


def log_requests(endpoint: Endpoint) -> Endpoint:
    """Print each request that gets here."""

    @functools.wraps(endpoint)
    async def logged(request: Request) -> Response:
        print("asked:", request.method, request.url.path)
        return await endpoint(request)

    return logged


def login_required(endpoint: Endpoint) -> Endpoint:
    """Refuse who does not know the password."""

    @functools.wraps(endpoint)
    async def guarded(request: Request) -> Response:
        given = request.headers.get("x-password", "").encode()
        if not hmac.compare_digest(given, PASSWORD.encode()):
            return PlainTextResponse("You are not logged in.", 401)
        return await endpoint(request)

    return guarded


shell2http.register_command(endpoint="public/echo", command_name="echo", decorators=[log_requests])
shell2http.register_command(endpoint="protected/echo", command_name="echo", decorators=[log_requests, login_required])


async def main() -> None:
    """Ask at both, and at the protected one with the password, too."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        fields = {"args": ["hello"]}
        print("public:", (await client.post("/cmd/public/echo", json=fields)).status_code)
        print("protected:", (await client.post("/cmd/protected/echo", json=fields)).status_code)
        password = {"X-Password": PASSWORD}
        print("with password:", (await client.post("/cmd/protected/echo", json=fields, headers=password)).status_code)


if __name__ == "__main__":
    asyncio.run(main())
