"""A controller that allows one command to every token, as fast as Python can: `controller.py PORT COMMAND ARGS...`.

A process of its own, so that its time is not the daemon's. Answers keep-alive HTTP; prints nothing.
"""

import asyncio
import json
import sys
from typing import cast

import uvloop


def answer_of(command: list[str]) -> bytes:
    """Build the one HTTP response that grants `command`."""
    body = json.dumps({"command": command[0], "args": command[1:]}).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Controller(asyncio.Protocol):
    """Answers each request when its head is complete; requests to a controller have no body."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        # uvloop's transports write like asyncio's, but do not inherit from them.
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Answer every complete head."""
        *complete, self._head = (self._head + data).split(b"\r\n\r\n")
        self._transport.write(self._answer * len(complete))


async def serve(port: int, command: list[str]) -> None:
    """Serve until killed."""
    answer = answer_of(command)
    server = await asyncio.get_running_loop().create_server(lambda: Controller(answer), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1]), sys.argv[2:]))
