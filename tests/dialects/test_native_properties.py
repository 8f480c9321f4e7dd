"""What holds for every message of `ws-subprocess.v1`, not only for those somebody thought of."""

import json
import sys
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from ws_subprocess.dialects.events import (
    SIGNAL_NAMES,
    Ack,
    Error,
    Exit,
    Hello,
    Input,
    Invalid,
    Ping,
    Pong,
    Resize,
    Signal,
)
from ws_subprocess.dialects.native import NativeDialect, name_signal
from ws_subprocess.errors import FAULTS
from ws_subprocess.model import ExitStatus, SessionId, Size

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
KINDS = ("resize", "signal", "eof", "ack", "ping", "pong", "hello", "")
messages = st.fixed_dictionaries(
    {"type": st.sampled_from(KINDS) | values},
    optional={"rows": values, "cols": values, "name": values, "offset": values, "id": values},
)


@given(st.binary() | st.text(st.characters()))
@example('{"type":"ping","id":' + "9" * 5000 + "}")
@example("[" * 100_000)
def test_decoding_never_raises_whatever_comes(message: bytes | str) -> None:
    event = NativeDialect(tty=True).decode(message)

    assert isinstance(event, Invalid) == isinstance(message, str)


@given(messages)
def test_decoding_never_raises_for_any_fields_of_a_message(fields: dict[str, Any]) -> None:
    event = NativeDialect(tty=True).decode(json.dumps(fields))

    match event:
        case Invalid(code, message):
            assert code in FAULTS
            json.dumps(message).encode()
        case Resize(size):
            assert 1 <= size.rows <= 2000
            assert 1 <= size.cols <= 2000
        case Signal(name):
            assert name in SIGNAL_NAMES
        case Ack(offset):
            assert 0 <= offset < 2**53
        case Ping(id) | Pong(id):
            assert id is None or abs(id) < 2**53


def test_decoding_never_raises_at_any_depth() -> None:
    """Showing a value must not need more of the stack than parsing it did."""
    dialect = NativeDialect(tty=True)

    for depth in range(1, sys.getrecursionlimit() + 100):
        message = '{"type":"resize","rows":' + "[" * depth + "]" * depth + ',"cols":80}'
        assert isinstance(dialect.decode(message), Invalid)


@given(st.binary())
def test_binary_messages_are_input_byte_for_byte(data: bytes) -> None:
    assert NativeDialect(tty=True).decode(data) == Input(data)


@given(st.binary(), st.sampled_from([1, 2]))
def test_output_of_pipes_carries_its_stream_first_and_a_terminals_does_not(data: bytes, stream: int) -> None:
    assert NativeDialect(tty=False).encode_output(stream, data) == bytes((stream,)) + data
    assert NativeDialect(tty=True).encode_output(stream, data) == data


events = st.one_of(
    st.builds(
        Hello,
        st.builds(SessionId, st.text("0123456789abcdef", min_size=32, max_size=32)),
        st.integers(0, 2**53 - 1),
        st.builds(Size, st.integers(1, 2000), st.integers(1, 2000)),
        st.booleans(),
        st.sampled_from(["owner", "viewer"]),
        st.text(st.characters(), max_size=256),
    ),
    st.builds(
        Exit,
        st.builds(ExitStatus, st.integers(0, 255), st.none()) | st.builds(ExitStatus, st.none(), st.integers(1, 64)),
        st.floats(0, 1e9),
        st.integers(0, 2**53 - 1),
    ),
    st.builds(Error, st.sampled_from(sorted(FAULTS)), st.text(st.characters())),
    st.builds(Pong, st.none() | st.integers(-(2**53) + 1, 2**53 - 1)),
)


@given(events)
def test_what_we_say_is_one_line_of_ascii_json_with_a_type(event: Hello | Exit | Error | Pong) -> None:
    text = NativeDialect(tty=True).encode(event)

    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["type"] == type(event).__name__.lower()


@given(st.integers(1, 64))
def test_every_signal_has_a_name_that_is_not_empty(number: int) -> None:
    assert name_signal(number)
    assert not name_signal(number).startswith("SIG")


def test_a_signals_name_means_the_number_this_machine_uses() -> None:
    assert {name: name_signal(number) for name, number in SIGNAL_NAMES.items()} == {name: name for name in SIGNAL_NAMES}
