"""The dialect of no subprotocol: bytes and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.dialects.events import Error, Input
from ws_subprocess.dialects.raw import RawDialect


@given(st.text())
def test_text_is_input_as_utf_8(text: str) -> None:
    assert RawDialect().decode(text) == Input(text.encode())


@given(st.binary())
def test_binary_is_input_as_it_is(data: bytes) -> None:
    assert RawDialect().decode(data) == Input(data)


@given(st.binary(), st.sampled_from([1, 2]))
def test_output_is_the_bytes_whatever_their_stream(data: bytes, stream: int) -> None:
    assert RawDialect().encode_output(stream, data) == data


def test_it_has_no_word_for_anything() -> None:
    assert RawDialect().encode(Error("read_only", "input was not used")) is None
