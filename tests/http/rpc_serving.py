"""Somebody's own application with functions to call, on a real socket, and a weeRPC client for it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import uvicorn
from starlette.types import ASGIApp

WAIT_S = 10.0
JSON = {"Content-Type": "application/json"}


class _PromptServer(uvicorn.Server):
    """uvicorn's server; but it does not look only ten times a second whether it should end."""

    async def main_loop(self) -> None:
        self.stop = asyncio.Event()
        await self.stop.wait()


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
    sock = socket.create_server(("127.0.0.1", 0))
    server = _PromptServer(uvicorn.Config(app, ws="none", http="h11", log_config=None, timeout_graceful_shutdown=1))
    task = asyncio.ensure_future(server.serve(sockets=[sock]))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        async with asyncio.timeout(WAIT_S):
            while not server.started:  # noqa: ASYNC110 - uvicorn tells in no other way
                await asyncio.sleep(0.002)
        async with httpx.AsyncClient(base_url=url, timeout=WAIT_S, trust_env=False) as http:
            yield WeeClient(http, path)
    finally:
        server.stop.set()
        await task
