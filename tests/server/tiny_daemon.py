"""A daemon around the server, for tests that need a process of its own: python tiny_daemon.py '{"listen": [...], ...}'.

Says what happens on stdout, one word or address a line.
"""

import asyncio
import json
import sys
from typing import Any

from ws_subprocess.address import parse_listen
from ws_subprocess.server.lifecycle import run
from ws_subprocess.server.settings import ServerSettings, StartError


def say(text: str) -> None:
    print(text, flush=True)


class Sessions:
    """Stands for sessions that end in time, when told to, or not at all."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.is_draining = False

    def begin_drain(self) -> None:
        self.is_draining = True
        say("begin_drain")

    async def drained(self) -> None:
        if self.kind != "none":
            await asyncio.Event().wait()

    async def end_sessions(self) -> None:
        say("end_sessions")
        if self.kind == "immortal":
            await asyncio.Event().wait()

    def kill_sessions(self) -> None:
        say("kill_sessions")


def main() -> int:
    options: dict[str, Any] = json.loads(sys.argv[1])
    sessions = Sessions(options.pop("sessions", "none"))
    addresses = tuple(parse_listen(text) for text in options.pop("listen", ["127.0.0.1:0"]))
    startup_fails = options.pop("startup_fails", False)

    async def application(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await receive()
            if startup_fails:
                await send({"type": "lifespan.startup.failed", "message": "no"})
                return
            say("started")
            await send({"type": "lifespan.startup.complete"})
            await receive()
            say("ended")
            await send({"type": "lifespan.shutdown.complete"})
        elif scope["type"] == "http":
            status = 503 if sessions.is_draining else 200
            headers = [(b"content-length", b"0"), (b"connection", b"close")]
            await send({"type": "http.response.start", "status": status, "headers": headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await receive()
            await send({"type": "websocket.accept"})
            say(f"code {(await receive())['code']}")

    def on_ready(urls: list[str]) -> None:
        for url in urls:
            say(url)

    try:
        return run(application, ServerSettings(addresses=addresses, **options), sessions, on_ready)
    except StartError as exc:
        say(str(exc))
        return 1


if __name__ == "__main__":
    sys.exit(main())
