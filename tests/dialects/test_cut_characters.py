"""Where a read may cut a character: counted as an incremental decoder would wait for it."""

import codecs
import sys
from itertools import chain

from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.dialects.codec import count_cut_bytes

# Every lead byte with its lowest and highest continuations, and the ends of the ranges that UTF-8 leaves out.
MULTIBYTE = [
    chr(point)
    for point in chain(
        range(0x80, 0x800, 0x3F),
        range(0x800, 0xD800, 0x3F1),
        range(0xE000, 0x10000, 0x3F1),
        range(0x10000, sys.maxunicode + 1, 0x3F01),
        (0x7FF, 0x800, 0xD7FF, 0xE000, 0xFFFF, 0x10000, sys.maxunicode),
    )
]


def count_waiting(data: bytes) -> int:
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    decoder.decode(data)
    return len(decoder.getstate()[0])


def test_every_split_of_every_length_is_counted_as_the_decoder_counts_it() -> None:
    for character in MULTIBYTE:
        data = character.encode()
        for before in (b"", b"x", "é".encode(), b"\xff"):
            for at in range(len(data) + 1):
                assert count_cut_bytes(before + data[:at]) == at % len(data), (before, data[:at])
                assert count_cut_bytes(before + data[:at]) == count_waiting(before + data[:at])


@given(st.text(), st.data())
def test_a_cut_in_any_text_is_at_a_boundary_of_its_characters(text: str, data: st.DataObject) -> None:
    encoded = text.encode()
    head = encoded[: data.draw(st.integers(0, len(encoded)))]

    whole = head[: len(head) - count_cut_bytes(head)]

    assert text.startswith(whole.decode())


@given(st.binary())
def test_of_bytes_that_are_no_text_at_most_three_are_held_back(data: bytes) -> None:
    assert 0 <= count_cut_bytes(data) <= min(3, len(data))
