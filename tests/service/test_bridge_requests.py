"""What clients ask for, and how often they may be wrong."""

from collections.abc import Callable
from typing import Any

import pytest
from talking import Talk, native, raw
from virtual_time import virtual_time

from ws_subprocess.dialects.codec import Message
from ws_subprocess.model import TO_WATCH, Right
from ws_subprocess.service.bridge import Close


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


@virtual_time
async def test_a_signal_for_a_command_that_became_somebody_else_is_told_to_be_impossible() -> None:
    talk = native()
    talk.child.unkillable = {talk.child.pid}

    talk.say(type="signal", name="TERM")

    assert [message["code"] for message in talk.take_json()] == ["signal_denied"]
    assert talk.bridge.close is None


@pytest.mark.parametrize(
    ("message", "code"),
    [
        (b"x", "read_only"),
        ('{"type":"eof"}', "read_only"),
        ('{"type":"signal","name":"TERM"}', "right_missing"),
        ('{"type":"signal","name":"KILL"}', "right_missing"),
    ],
)
@virtual_time
async def test_of_a_viewer_nothing_reaches_the_command(message: Message, code: str) -> None:
    talk = native(rights=TO_WATCH)

    talk.bridge.receive(message)

    assert [told["code"] for told in talk.take_json()] == [code]
    assert talk.child.written == b""
    assert talk.child.names() == ["start"]
    assert talk.count(code) == 1
    talk.end()


@pytest.mark.parametrize(
    ("right", "allowed"),
    [(Right.WRITE, "x"), (Right.SIGNAL, "TERM"), (Right.KILL, "KILL")],
    ids=str,
)
@virtual_time
async def test_each_right_allows_its_own_and_nothing_else(right: Right, allowed: str) -> None:
    talk = native(rights=TO_WATCH | {right})

    talk.bridge.receive(b"x")
    for name in ("TERM", "KILL"):
        talk.say(type="signal", name=name)

    refused = [told["message"].split()[0] for told in talk.take_json()]
    assert set(refused) == {"input", "TERM", "KILL"} - {"input" if allowed == "x" else allowed}
    assert (talk.child.written == b"x") == (allowed == "x")
    talk.end()


@virtual_time
async def test_a_viewer_may_resize_its_window() -> None:
    talk = native(rights=TO_WATCH)

    talk.say(type="resize", rows=30, cols=100)

    assert talk.take() == []
    talk.end()


@pytest.mark.parametrize("build", [native, raw])
@virtual_time
async def test_a_viewer_that_types_on_is_not_sent_away(build: Callable[..., Talk]) -> None:
    """Its keys are counted and not used; nothing about them breaks the protocol."""
    talk = build(rights=TO_WATCH)

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
