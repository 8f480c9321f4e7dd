"""What a controller sends behind its answer is nobody's answer: least of all the next question's."""

import asyncio

import pytest
from asking import asking
from scripted_server import ScriptedServer, respond, scripted

from ws_subprocess.errors import GateError

GOOD, OTHER = respond('{"command": "/bin/true"}'), respond('{"command": "/bin/sh"}')
DENIED = respond("", "403 Forbidden")


@pytest.mark.parametrize("behind", [OTHER, OTHER[:20], b"x", b"\r\n" + OTHER, b"HTTP/1.1 100 Continue\r\n\r\n" + OTHER])
async def test_what_stands_behind_an_answer_does_not_answer_the_next_question(behind: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(GOOD + behind if len(server.requests) == 1 else DENIED)

    async with scripted(answer) as server, asking(server.url) as ask:
        first = await ask("first")
        with pytest.raises(GateError) as caught:
            await ask("second")

        assert first.grant.command == "/bin/true"
        assert caught.value.code == "denied"
        assert (len(server.requests), server.connections) == (2, 2)


async def test_where_nothing_stands_behind_it_the_connection_is_used_again() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        for _ in range(3):
            await ask("t0ken")

        assert _count(server) == (3, 1)


def _count(server: ScriptedServer) -> tuple[int, int]:
    return len(server.requests), server.connections
