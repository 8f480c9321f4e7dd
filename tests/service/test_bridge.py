"""One client's conversation, message by message, with no transport underneath."""

import asyncio

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from talking import READ_ONLY, Talk, native, raw
from virtual_time import virtual_time

from ws_subprocess.dialects.codec import Message
from ws_subprocess.dialects.native import NativeDialect
from ws_subprocess.model import STDERR, STDOUT, ExitStatus, Grant
from ws_subprocess.service.bridge import Close

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
async def test_an_exit_that_nobody_knows_is_an_error_and_no_exit() -> None:
    talk = native()
    talk.child.exit(ExitStatus(None, None))
    talk.child.end_output()

    assert talk.take() == ['{"type":"error","code":"internal_error","message":"Internal error"}']
    assert talk.bridge.close == Close(1011, "Internal error")


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
