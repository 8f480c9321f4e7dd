"""Several functions that hear of each end: a callback that passes it on to all who have connected to a signal.

`Signal` here is all that is needed of one. With the package blinker it would be `signal = Namespace().signal("done")`,
`@signal.connect`, and `signal.send("command", context=context, future=future)` in the callback.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import httpx
from starlette.applications import Starlette

from ws_subprocess.service.command_future import CommandFuture
from ws_subprocess.shell2http import Shell2HTTP

Receiver = Callable[[dict[str, Any], CommandFuture], None]


class Signal:
    """Calls all functions that were connected to it."""

    def __init__(self) -> None:
        self._receivers: list[Receiver] = []

    def connect(self, receiver: Receiver) -> Receiver:
        """Have a function called; to be used as a decorator."""
        self._receivers.append(receiver)
        return receiver

    def send(self, context: dict[str, Any], future: CommandFuture) -> None:
        """Call them."""
        for receiver in self._receivers:
            receiver(context, future)


command_done = Signal()

app = Starlette()
shell2http = Shell2HTTP(app, base_url_prefix="/cmd/")
shell2http.register_command(endpoint="echo", command_name="echo", callback_fn=command_done.send)


@command_done.connect
def show_report(context: dict[str, Any], future: CommandFuture) -> None:
    """Print the report."""
    print("one heard:", future.result()["report"].strip())


@command_done.connect
def show_exit_code(context: dict[str, Any], future: CommandFuture) -> None:
    """Print the exit code."""
    print("another heard: exit code", future.result()["returncode"])


async def main() -> None:
    """Run two jobs."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        for word in ("Hello", "Bye"):
            started = (await client.post("/cmd/echo", json={"args": [word, "friend!"]})).json()
            await client.get("/cmd/echo", params={"key": started["key"], "wait": "true"})


if __name__ == "__main__":
    asyncio.run(main())
