"""A whole daemon in a thread of this process: what its loop does can be measured while blunt sockets attack it."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import uvloop
from running_server import RawWebSocket, RunningServer, run_server

from ws_subprocess.app import App
from ws_subprocess.auth.fixed import OneCommand
from ws_subprocess.config.settings import Settings
from ws_subprocess.model import Grant
from ws_subprocess.server.http_httptools import HttpToolsConnection

TOKEN = "t0ken"


@dataclass(slots=True)
class ThreadedDaemon:
    """A daemon that runs one shell script for whoever has the token.

    Attributes:
        longest_turn_s: The most of its thread's own time that the loop took for one turn while it was watched; what
            others do on this machine does not count.
    """

    app: App
    server: RunningServer
    longest_turn_s: float = 0.0

    def open(self, dialect: str = "", extra: str = "") -> RawWebSocket:
        """Return a websocket onto the script."""
        offered = f"Sec-WebSocket-Protocol: {dialect}\r\n" if dialect else ""
        return self.server.upgrade(f"/ws?token={TOKEN}", extra=offered + extra)

    @contextlib.contextmanager
    def loop_is_watched(self) -> Iterator[None]:
        """Measure the loop's turns while the block runs."""
        watching = asyncio.run_coroutine_threadsafe(self._watch(), self.server.loop)
        try:
            yield
        finally:
            watching.cancel()

    async def _watch(self) -> None:
        last_s = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now_s = time.thread_time()
            self.longest_turn_s = max(self.longest_turn_s, now_s - last_s)
            last_s = now_s


@contextlib.contextmanager
def threaded_daemon(script: str, settings: Settings | None = None, **server_settings: Any) -> Iterator[ThreadedDaemon]:
    """Run a daemon until the block ends; `server_settings` are those of `ServerSettings`."""
    grant = Grant("/bin/sh", ("-c", script))
    # Not `create_run_app`, whose process must do nothing else: this one has other tests to run.
    app = App(settings or Settings(), [OneCommand(TOKEN, grant)], ledger=None, owns_process=False, child_nofile=None)
    with run_server(app, uvloop.new_event_loop, HttpToolsConnection, app, True, **server_settings) as server:
        yield ThreadedDaemon(app, server)
