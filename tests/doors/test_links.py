"""How messages are carried, with a transport that does exactly what a test says."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from fake_child import FakeChild, build_session

from ws_subprocess.dialects.codec import Message
from ws_subprocess.dialects.raw import RawDialect
from ws_subprocess.doors.links import DirectLink, QueuedLink, find_channel
from ws_subprocess.model import Grant
from ws_subprocess.service.bridge import Bridge
from ws_subprocess.telemetry import Metrics


class Channel:
    """A direct channel that is full after `room` messages."""

    def __init__(self, room: int = 1000) -> None:
        self.room = room
        self.sent: list[Message] = []
        self.calls: list[str] = []
        self.on_message: Callable[[Message], None] = lambda _: None
        self.on_writable: Callable[[], None] = lambda: None

    def start(self, on_message: Callable[[Message], None], on_writable: Callable[[], None]) -> None:
        self.calls.append("start")
        self.on_message, self.on_writable = on_message, on_writable

    def send(self, message: Message) -> bool:
        self.sent.append(message)
        self.room -= 1
        return self.room > 0

    def pause(self) -> None:
        self.calls.append("pause")

    def resume(self) -> None:
        self.calls.append("resume")


class Line:
    """A session of a child that is told what to do, and a link of either kind to its raw client."""

    def __init__(self, link: DirectLink | QueuedLink, grant: Grant = Grant(command="/bin/true")) -> None:  # noqa: B008
        self.child = FakeChild()
        self.session = build_session(self.child, grant=grant)
        self.bridge = Bridge(self.session, RawDialect(), Metrics(), link.wake)
        self.session.start()

    def end(self) -> None:
        self.bridge.detach()
        self.session.kill_now("")


async def turn() -> None:
    """Let everything that is ready run."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_under_a_server_that_offers_none_there_is_no_channel() -> None:
    assert find_channel({"type": "websocket"}) is None
    assert find_channel({"type": "websocket", "extensions": {"websocket.http.response": {}}}) is None


async def test_what_came_before_comes_first() -> None:
    channel = Channel()
    link = DirectLink(channel)
    line = Line(link)
    await link.take("a")
    await link.take(b"b")

    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()
    channel.on_message("c")

    assert line.child.written == b"abc"
    link.stop()
    await running
    line.end()


async def test_output_is_sent_by_the_callback_that_brought_it() -> None:
    channel = Channel()
    link = DirectLink(channel)
    line = Line(link)
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()

    line.child.say(b"abc")

    assert channel.sent == [b"abc"]
    link.stop()
    await running
    line.end()


async def test_nothing_is_sent_to_a_full_channel_until_it_says_so() -> None:
    channel = Channel(room=2)
    link = DirectLink(channel)
    line = Line(link)
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()

    for _ in range(3):
        line.child.say(b"x")
    sent_when_full = list(channel.sent)
    channel.room = 1000
    channel.on_writable()

    assert sent_when_full == [b"x", b"x"]
    assert b"".join(part for part in channel.sent if isinstance(part, bytes)) == b"xxx"
    link.stop()
    await running
    line.end()


async def test_a_conversation_does_not_end_before_its_last_message_has_room() -> None:
    channel = Channel(room=1)
    link = DirectLink(channel)
    line = Line(link)
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()

    line.child.say(b"last words")
    line.child.exit()
    line.child.end_output()
    await turn()
    ended_when_full = running.done()
    channel.on_writable()
    await running

    assert not ended_when_full
    assert line.bridge.close is not None


async def test_a_client_is_held_back_while_its_input_has_no_room() -> None:
    channel = Channel()
    link = DirectLink(channel)
    line = Line(link)
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()

    line.child.room = False
    channel.on_message(b"x")
    channel.on_message(b"y")
    line.session.on_input_room()

    assert channel.calls == ["start", "pause", "resume"]
    assert line.child.written == b"xy"
    link.stop()
    await running
    line.end()


async def test_without_a_channel_what_came_before_comes_first_too() -> None:
    sent: list[dict[str, Any]] = []

    async def send(event: Any) -> None:
        sent.append(event)

    link = QueuedLink(send)
    line = Line(link)
    await link.take("a")
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()
    await link.take("b")
    line.child.say(b"out")
    await turn()

    assert line.child.written == b"ab"
    assert sent == [{"type": "websocket.send", "bytes": b"out"}]
    link.stop()
    await running
    line.end()


async def test_without_a_channel_a_client_is_held_back_until_there_is_room_or_it_leaves() -> None:
    async def send(event: Any) -> None:
        return

    link = QueuedLink(send)
    line = Line(link)
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()

    line.child.room = False
    first = asyncio.ensure_future(link.take(b"x"))
    await turn()
    was_held = not first.done()
    line.session.on_input_room()
    await first
    second = asyncio.ensure_future(link.take(b"y"))
    await turn()
    link.stop()
    await asyncio.gather(second, running)

    assert was_held
    line.end()


@pytest.mark.parametrize("is_gone", [True, False])
async def test_a_client_whose_input_waits_is_tried_now_and_then(is_gone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ws_subprocess.doors.links.PROBE_S", 0.01)
    sent: list[Any] = []

    async def send(event: Any) -> None:
        sent.append(event)
        if is_gone:
            raise OSError("gone")

    link = QueuedLink(send)
    line = Line(link)
    running = asyncio.ensure_future(link.run(line.bridge))
    await turn()
    line.child.room = False
    taking = asyncio.ensure_future(link.take(b"x"))

    async with asyncio.timeout(10):
        while len(sent) < (1 if is_gone else 3):  # noqa: ASYNC110 - time has to pass
            await asyncio.sleep(0.005)

    assert all(event == {"type": "websocket.send", "bytes": b""} for event in sent)
    if not is_gone:
        assert not taking.done()
        link.stop()
    await asyncio.gather(taking, running)
    line.end()
