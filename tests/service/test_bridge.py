"""One client's conversation, message by message, with no transport underneath."""

import asyncio
import json
from collections.abc import Callable
from typing import Any

import pytest
from fake_child import FakeChild, build_session
from hypothesis import given, settings
from hypothesis import strategies as st
from virtual_time import virtual_time

from ws_subprocess.dialects.codec import Dialect, Message
from ws_subprocess.dialects.native import NativeDialect
from ws_subprocess.dialects.raw import RawDialect
from ws_subprocess.model import STDERR, STDOUT, ExitStatus, Grant
from ws_subprocess.service.bridge import Bridge, Close
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.session import Session
from ws_subprocess.telemetry import Metrics

LIMITS = SessionLimits(ring_bytes=2000, window_bytes=1000)
READ_ONLY = Grant(command="/bin/true", read_only=True)


class Talk:
    """A bridge with a client that takes whatever there is, and a child that does what it is told."""

    def __init__(self, dialect: Dialect, grant: Grant = Grant(command="/bin/true", title="true")) -> None:  # noqa: B008
        self.child = FakeChild()
        self.session: Session = build_session(self.child, LIMITS, grant)
        self.metrics = Metrics()
        self.woken = 0
        self.bridge = Bridge(self.session, dialect, self.metrics, self._wake)
        self.session.start()

    def take(self) -> list[Message]:
        """Return all there is to say now."""
        found: list[Message] = []
        while (message := self.bridge.next_message()) is not None:
            found.append(message)
        return found

    def take_json(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.take() if isinstance(message, str)]

    def say(self, **message: Any) -> None:
        self.bridge.receive(json.dumps(message))

    def count(self, code: str) -> float:
        return self.metrics.client_errors.labels(code)._value.get()

    def end(self) -> None:
        self.bridge.detach()
        self.session.kill_now("")

    def _wake(self) -> None:
        self.woken += 1


def native(tty: bool = True, **grant: Any) -> Talk:
    talk = Talk(NativeDialect(tty), Grant(command="/bin/true", title="true", tty=tty, **grant))
    assert talk.take_json()[0]["type"] == "hello"
    return talk


def raw(**grant: Any) -> Talk:
    return Talk(RawDialect(), Grant(command="/bin/true", **grant))


# Greetings and farewells.


@virtual_time
async def test_hello_says_what_the_client_is_attached_to() -> None:
    talk = Talk(NativeDialect(True), Grant(command="/bin/true", title="Lab"))

    assert talk.take_json() == [
        {
            "type": "hello",
            "version": 1,
            "session": talk.session.id,
            "offset": 0,
            "rows": 24,
            "cols": 80,
            "tty": True,
            "role": "owner",
            "title": "Lab",
        }
    ]
    talk.end()


@virtual_time
async def test_who_may_not_type_is_a_viewer() -> None:
    talk = Talk(NativeDialect(True), READ_ONLY)

    assert talk.take_json()[0]["role"] == "viewer"
    talk.end()


@virtual_time
async def test_output_then_exit_then_close() -> None:
    talk = native()
    talk.child.say(b"last words")
    await asyncio.sleep(1.5)
    talk.child.exit(ExitStatus(3, None))
    talk.child.end_output()

    assert talk.take() == [
        b"last words",
        '{"type":"exit","code":3,"signal":null,"duration_s":1.5,"bytes":10}',
    ]
    assert talk.bridge.close == Close(1000, "")


@virtual_time
async def test_a_raw_client_gets_the_bytes_and_the_close() -> None:
    talk = raw()
    talk.child.say(b"out", STDOUT)
    talk.child.say(b"err", STDERR)
    talk.child.exit(ExitStatus(None, 9))
    talk.child.end_output()

    assert talk.take() == [b"out", b"err"]
    assert talk.bridge.close == Close(1000, "")


@pytest.mark.parametrize(
    ("reason", "close"),
    [
        ("idle_timeout", Close(4408, "Idle for too long")),
        ("lifetime_exceeded", Close(4410, "Session lived its time")),
        ("draining", Close(1012, "Server is shutting down")),
    ],
)
@virtual_time
async def test_why_a_session_was_ended_is_told_before_its_exit_and_by_the_close(reason: str, close: Close) -> None:
    talk = native()
    talk.child.deadly = {1}
    talk.session.hang_up(reason)
    await talk.session.finished

    told = talk.take_json()

    assert [message["type"] for message in told] == ["error", "exit"]
    assert told[0] == {"type": "error", "code": reason, "message": close.reason}
    assert told[1]["signal"] == "HUP"
    assert talk.bridge.close == close


@virtual_time
async def test_that_the_daemon_is_draining_is_told_at_once_and_once() -> None:
    talk = native()
    talk.child.deadly = {1}

    talk.session.notify("draining")
    first = talk.take_json()
    talk.session.hang_up("draining")
    await talk.session.finished

    assert [message["code"] for message in first] == ["draining"]
    assert [message["type"] for message in talk.take_json()] == ["exit"]
    assert talk.bridge.close == Close(1012, "Server is shutting down")


@virtual_time
async def test_a_session_that_was_killed_outright_is_closed_with_its_reason() -> None:
    talk = native()
    talk.session.kill_now("draining")

    assert talk.take() == []
    assert talk.bridge.close == Close(1012, "Server is shutting down")
    assert talk.woken


@virtual_time
async def test_a_session_given_up_without_a_reason_is_an_internal_error() -> None:
    talk = raw()
    talk.session.kill_now("")

    assert talk.take() == []
    assert talk.bridge.close == Close(1011, "Internal error")


# Flow control.


@virtual_time
async def test_no_more_is_sent_than_the_window_beyond_the_acknowledgement() -> None:
    talk = native()
    talk.child.say(b"x" * 1500)

    first = talk.take()
    talk.say(type="ack", offset=200)
    second = talk.take()

    assert b"".join(m for m in first if isinstance(m, bytes)) == b"x" * 1000
    assert b"".join(m for m in second if isinstance(m, bytes)) == b"x" * 200
    talk.end()


@pytest.mark.parametrize("offset", [99, 501])
@virtual_time
async def test_an_impossible_acknowledgement_is_answered_with_its_limits(offset: int) -> None:
    talk = native()
    talk.child.say(b"x" * 500)
    talk.take()
    talk.say(type="ack", offset=100)

    talk.say(type="ack", offset=offset)

    assert talk.take_json() == [{"type": "error", "code": "bad_ack", "message": f"offset: {offset} is not in 100..500"}]
    talk.end()


@virtual_time
async def test_a_client_that_acknowledges_nothing_after_the_end_is_let_go() -> None:
    talk = native()
    talk.child.say(b"x" * 1500)
    talk.child.resume_output()
    talk.child.exit()
    talk.child.end_output()
    talk.take()

    await asyncio.sleep(29)
    assert talk.bridge.close is None
    await asyncio.sleep(2)

    assert talk.bridge.close == Close(1011, "Output lost")
    assert talk.take() == []


@virtual_time
async def test_a_client_that_acknowledges_slowly_after_the_end_gets_everything() -> None:
    talk = native()
    talk.child.say(b"x" * 1500)
    talk.child.resume_output()
    talk.child.exit()
    talk.child.end_output()
    received = sum(len(m) for m in talk.take() if isinstance(m, bytes))

    for offset in range(100, 1600, 100):
        await asyncio.sleep(20)
        talk.say(type="ack", offset=min(offset, received))
        received += sum(len(m) for m in talk.take() if isinstance(m, bytes))

    assert received == 1500
    assert talk.bridge.close == Close(1000, "")


@virtual_time
async def test_lost_output_is_told_as_often_as_it_happens() -> None:
    """A session that is being ended waits for nobody; that is no mistake of the client's."""
    talk = native()
    talk.session.hang_up("lifetime_exceeded")
    told = []
    for _ in range(150):
        talk.child.say(b"x" * 3000)
        talk.say(type="ack", offset=talk.bridge._attachment.offset)
        told += [message["code"] for message in talk.take_json()]

    assert told == ["output_lost"] * 150
    assert talk.bridge.close is None
    talk.end()


# What clients ask for.


@virtual_time
async def test_everything_a_client_may_ask_reaches_the_command() -> None:
    talk = native()

    talk.bridge.receive(b"typed")
    talk.say(type="resize", rows=30, cols=100)
    talk.say(type="signal", name="TSTP")
    talk.say(type="eof")
    talk.say(type="pong", id=1)

    assert talk.child.written == b"typed"
    assert talk.child.names()[1:] == ["resize 30x100", "signal 20", "eof"]
    assert talk.take() == []
    talk.end()


@pytest.mark.parametrize(("ping", "pong"), [({"id": 7}, {"id": 7}), ({}, {}), ({"id": None}, {})])
@virtual_time
async def test_a_ping_is_answered_with_its_id(ping: dict[str, Any], pong: dict[str, Any]) -> None:
    talk = native()

    talk.say(type="ping", **ping)

    assert talk.take_json() == [{"type": "pong", **pong}]
    talk.end()


@virtual_time
async def test_empty_input_is_nothing() -> None:
    talk = native()

    talk.bridge.receive(b"")

    assert talk.session.input_bytes == 0
    talk.end()


@virtual_time
async def test_a_line_that_will_be_cut_is_told_and_typed_all_the_same() -> None:
    talk = native()

    talk.bridge.receive(b"too long")

    assert [message["code"] for message in talk.take_json()] == ["line_truncated_risk"]
    assert talk.child.written == b"too long"
    talk.end()


@virtual_time
async def test_a_signal_for_a_command_that_has_ended_is_told_to_be_late() -> None:
    talk = native()
    talk.child.tree = {1}
    talk.child.exit()

    talk.say(type="signal", name="TERM")

    assert [message["code"] for message in talk.take_json()] == ["not_running"]
    assert "signal 15" not in talk.child.names()
    talk.end()


@pytest.mark.parametrize("message", [b"x", '{"type":"signal","name":"KILL"}', '{"type":"eof"}'])
@virtual_time
async def test_of_a_viewer_nothing_reaches_the_command(message: Message) -> None:
    talk = native(read_only=True)

    talk.bridge.receive(message)

    assert [told["code"] for told in talk.take_json()] == ["read_only"]
    assert talk.child.written == b""
    assert talk.child.names() == ["start"]
    assert talk.count("read_only") == 1
    talk.end()


@virtual_time
async def test_a_viewer_may_resize_its_window() -> None:
    talk = native(read_only=True)

    talk.say(type="resize", rows=30, cols=100)

    assert talk.take() == []
    talk.end()


@pytest.mark.parametrize("build", [native, raw])
@virtual_time
async def test_a_viewer_that_types_on_is_not_sent_away(build: Callable[..., Talk]) -> None:
    """Its keys are counted and not used; nothing about them breaks the protocol."""
    talk = build(read_only=True)

    for _ in range(1000):
        talk.bridge.receive(b"x")

    assert talk.bridge.close is None
    assert talk.count("read_only") == 1000
    assert len(talk.take()) <= 256
    talk.end()


@virtual_time
async def test_a_hundred_bad_messages_are_answered_and_the_next_ends_it() -> None:
    talk = native()

    for number in range(100):
        talk.bridge.receive(("nonsense", '{"type":"paste"}', '{"type":"resize"}', '{"type":"ack"}')[number % 4])
        assert [message["type"] for message in talk.take_json()] == ["error"]
    assert talk.bridge.close is None
    talk.bridge.receive("nonsense")

    assert talk.take() == []
    assert talk.bridge.close == Close(1008, "Too many bad messages")
    talk.end()


@virtual_time
async def test_a_client_that_asks_without_taking_the_answers_is_sent_away() -> None:
    talk = native()

    for _ in range(300):
        talk.say(type="ping")

    assert talk.bridge.close == Close(1008, "Too many bad messages")
    assert len(talk.take()) <= 256
    talk.end()


@virtual_time
async def test_input_that_does_not_fit_asks_for_a_pause_until_there_is_room() -> None:
    talk = raw()
    talk.child.room = False

    talk.bridge.receive(b"x" * 10)
    before = talk.bridge.is_input_full
    talk.session.on_input_room()

    assert before
    assert not talk.bridge.is_input_full
    talk.end()


# Raw: clients that decode every message alone.

EURO = "\u20ac".encode()


@virtual_time
async def test_a_character_that_a_read_has_cut_is_joined() -> None:
    talk = raw()
    talk.child.say(b"1 " + EURO[:2])
    first = talk.take()
    talk.child.say(EURO[2:] + b" left")

    assert first == [b"1 "]
    assert talk.take() == [EURO + b" left"]
    talk.end()


@virtual_time
async def test_a_cut_character_is_held_back_for_20_ms_and_no_longer() -> None:
    talk = raw()
    talk.child.say(EURO[:1])
    assert talk.take() == []
    woken = talk.woken

    await asyncio.sleep(0.019)
    before = talk.take()
    await asyncio.sleep(0.002)

    assert before == []
    assert talk.woken == woken + 1
    assert talk.take() == [EURO[:1]]
    talk.end()


@virtual_time
async def test_at_the_end_nothing_is_held_back() -> None:
    talk = raw()
    talk.child.say(b"a" + EURO[:2])
    assert talk.take() == [b"a"]

    talk.child.exit()
    talk.child.end_output()

    assert talk.take() == [EURO[:2]]
    assert talk.bridge.close == Close(1000, "")


@given(st.text(min_size=1), st.lists(st.integers(1, 5), min_size=1))
@settings(deadline=None)
@virtual_time
async def test_however_text_is_read_every_message_is_text(text: str, sizes: list[int]) -> None:
    talk, data, at = raw(), text.encode()[:1900], 0
    messages: list[Message] = []
    while at < len(data):
        size = sizes[at % len(sizes)]
        talk.child.say(data[at : at + size])
        at += size
        messages += talk.take()
    talk.child.exit()
    talk.child.end_output()
    messages += talk.take()

    assert b"".join(m for m in messages if isinstance(m, bytes)) == data
    for message in messages[:-1]:
        assert isinstance(message, bytes)
        message.decode()


@virtual_time
async def test_the_native_dialect_holds_nothing_back() -> None:
    talk = native()
    talk.child.say(EURO[:2])

    assert talk.take() == [EURO[:2]]
    talk.end()


@virtual_time
async def test_with_pipes_every_message_names_its_stream() -> None:
    talk = native(tty=False)
    talk.child.say(b"out", STDOUT)
    talk.child.say(b"err", STDERR)
    talk.child.say(b"more", STDERR)

    assert talk.take() == [b"\x01out", b"\x02errmore"]
    talk.end()
