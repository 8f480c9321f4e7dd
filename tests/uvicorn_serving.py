"""Serves an application with uvicorn: the other server that it may stand behind."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import uvicorn
from starlette.types import ASGIApp

WAIT_S = 10.0
CLOSE_S = 1.0
POLL_S = 0.002


class PromptServer(uvicorn.Server):
    """uvicorn's server; but it looks more often than ten times a second whether it should end, and whether it has."""

    async def main_loop(self) -> None:
        self.stop = asyncio.Event()
        await self.on_tick(0)
        await self.stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End as uvicorn does: tell the connections, wait for them, cancel what is late, then end the application."""
        for server in self.servers:
            server.close()
        for sock in sockets or ():
            sock.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        state = self.server_state
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_S):
                while state.connections or state.tasks:  # noqa: ASYNC110 - uvicorn tells in no other way
                    await asyncio.sleep(POLL_S)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@asynccontextmanager
async def serve_with_uvicorn(app: ASGIApp, listener: socket.socket | None = None, **config: Any) -> AsyncIterator[int]:
    """Serve on a free port, or on `listener`, until the block ends; give the port. `config` are uvicorn's."""
    sock = socket.create_server(("127.0.0.1", 0)) if listener is None else listener
    server = PromptServer(uvicorn.Config(app, **{"ws": "none", "http": "h11", "log_config": None, **config}))
    task = asyncio.ensure_future(server.serve(sockets=[sock]))
    try:
        async with asyncio.timeout(WAIT_S):
            while not server.started:  # noqa: ASYNC110 - uvicorn tells in no other way
                await asyncio.sleep(POLL_S)
        yield sock.getsockname()[1]
    finally:
        server.stop.set()
        await task
