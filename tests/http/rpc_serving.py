"""Somebody's own application with functions to call, on a real socket, and a weeRPC client for it."""

import json
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.sessions import SessionMiddleware
from starlette.types import ASGIApp
from uvicorn_serving import serve_with_uvicorn

from ws_subprocess.rpc import RPC, RPCAuthSessionKey, RPCResponse, current_request

WAIT_S = 10.0
JSON = {"Content-Type": "application/json"}
LOGGED_IN = RPCAuthSessionKey("logged_in", [True])


def add_numbers(data: Any) -> Any:
    """The function of the readme."""
    if isinstance(data, list):
        return RPCResponse.success(sum(data), "Function 'add_numbers' executed successfully")
    return None


def log_in(data: Any) -> Any:
    current_request().session.update(data)
    return RPCResponse.success()


def build_app() -> Starlette:
    return Starlette(middleware=[Middleware(SessionMiddleware, secret_key="only for tests")])


class WeeClient:
    """Calls functions as a client of Flask-RPC does: a POST with one JSON object."""

    def __init__(self, http: httpx.AsyncClient, path: str = "/rpc") -> None:
        self.http = http
        self.path = path

    async def post(self, content: bytes | str, headers: dict[str, str] = JSON) -> httpx.Response:
        """Post exactly this."""
        return await self.http.post(self.path, content=content, headers=headers)

    async def send(self, value: Any, **headers: str) -> Any:
        """Post a JSON value; return the answer's, which must be HTTP 200."""
        response = await self.post(json.dumps(value), JSON | headers)
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "application/json"
        return response.json()

    async def call(self, function: str, data: Any = None, **headers: str) -> Any:
        """Call a function in weeRPC 1.1; return the whole answer."""
        return await self.send({"weerpc": 1.1, "function": function, "data": data}, **headers)

    async def tell(self, message: Any) -> str:
        """Return the message of the failure that a JSON value meets."""
        answer = await self.send(message)
        assert answer == {"weerpc": 1.1, "ok": False, "message": answer["message"], "data": None}
        told: str = answer["message"]
        return told


@asynccontextmanager
async def serve_app(app: ASGIApp, path: str = "/rpc") -> AsyncIterator[WeeClient]:
    """Serve an application until the block ends."""
    async with (
        serve_with_uvicorn(app) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_S, trust_env=False) as http,
    ):
        yield WeeClient(http, path)


@asynccontextmanager
async def serving(*, path: str = "/rpc", **options: Any) -> AsyncIterator[WeeClient]:
    """Serve `RPC` with these options, `add_numbers` if no functions are given."""
    app = build_app()
    rpc = RPC(app, **{"url_prefix": path, "functions": {"add_numbers": add_numbers}, **options})
    try:
        async with serve_app(app, path) as client:
            yield client
    finally:
        rpc.close()


@contextmanager
def logged(level: int = logging.WARNING) -> Iterator[list[logging.LogRecord]]:
    """Collect what the package logs meanwhile."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(level)
    handler.emit = records.append  # type: ignore[method-assign]
    logger = logging.getLogger("ws_subprocess")
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
