"""A controller in the test's own process that answers as the test tells it: a token stands for an answer."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

_HEAD_END = b"\r\n\r\n"


@dataclass(slots=True)
class ScriptedController:
    """What the controller knows.

    Attributes:
        url: What the daemon asks.
        asked: The tokens it was asked about, in order.
        answers: Status and body by token. Each is given once; any other token is refused.
        delay_s: How long it thinks before each answer.
        connections: Those that are open now.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    answers: dict[str, tuple[int, bytes]] = field(default_factory=dict)
    delay_s: float = 0.0
    connections: set[asyncio.Transport] = field(default_factory=set)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def allow(self, command: str, *args: str, **more: object) -> str:
        """Return a new token that runs this command; `more` are further keys of the grant."""
        token = f"token-{next(self._numbers)}"
        self.answers[token] = (200, json.dumps({"command": command, "args": args, **more}).encode())
        return token

    def drop_connections(self) -> None:
        """Close what the daemon keeps open between two questions."""
        for connection in tuple(self.connections):
            connection.close()


class _Conversation(asyncio.Protocol):
    """One kept-alive connection. Questions have no body."""

    def __init__(self, controller: ScriptedController) -> None:
        self._controller = controller
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._controller.connections.add(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._controller.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        *questions, self._received = (self._received + data).split(_HEAD_END)
        for question in questions:
            answer = self._answer(question)
            asyncio.get_running_loop().call_later(self._controller.delay_s, self._send, answer)

    def _answer(self, head: bytes) -> bytes:
        target = head.split(b" ", 2)[1].decode("ascii")
        token = parse_qs(urlsplit(target).query)["token"][0]
        self._controller.asked.append(token)
        status, body = self._controller.answers.pop(token, (403, b"Invalid token"))
        start = f"HTTP/1.1 {status} {HTTPStatus(status).phrase}\r\nContent-Length: {len(body)}\r\n\r\n"
        return start.encode() + body

    def _send(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)


@asynccontextmanager
async def run_controller() -> AsyncIterator[ScriptedController]:
    """Serve a controller on a free loopback port until the block ends."""
    controller = ScriptedController()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Conversation(controller), "127.0.0.1", 0)
    controller.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/ws-controller"
    try:
        yield controller
    finally:
        server.close()
        controller.drop_connections()
        await server.wait_closed()
