"""The ring against the simplest thing that could be right: a list of all bytes that were ever written."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ws_subprocess.sessions.replay import SEGMENTS_MAX, Gap, Output, ReplayRing


@dataclass
class Everything:
    """Keeps (byte, stream) of all that was ever appended."""

    data: bytearray = field(default_factory=bytearray)
    streams: bytearray = field(default_factory=bytearray)

    def append(self, data: bytes, stream: int) -> None:
        self.data += data
        self.streams += bytes((stream,)) * len(data)

    def read(self, start: int, offset: int, limit: int) -> Output | Gap | None:
        if offset < start:
            return Gap(start - offset, start)
        if offset == len(self.data):
            return None
        stream = self.streams[offset]
        end = offset
        while end < len(self.data) and end - offset < limit and self.streams[end] == stream:
            end += 1
        return Output(offset, stream, bytes(self.data[offset:end]))


writes = st.lists(st.tuples(st.binary(min_size=0, max_size=40), st.sampled_from([1, 2])), max_size=30)


@given(st.integers(1, 64), writes, st.data())
def test_whatever_is_written_and_read_equals_the_naive_model(
    capacity: int, chunks: list[tuple[bytes, int]], data: st.DataObject
) -> None:
    ring, model = ReplayRing(capacity), Everything()

    for chunk, stream in chunks:
        start = ring.start
        ring.append(memoryview(chunk), stream)
        model.append(chunk, stream)

        assert ring.end == len(model.data)
        assert start <= ring.start
        assert ring.start == max(0, ring.end - capacity)
        offset, limit = data.draw(st.integers(0, ring.end)), data.draw(st.integers(1, 80))
        assert ring.read(offset, limit) == model.read(ring.start, offset, limit)


@given(st.lists(st.integers(1, 5000), min_size=1, max_size=20), st.integers(1, 12_000))
@settings(deadline=None)
def test_it_grows_to_its_capacity_without_losing_a_byte(sizes: list[int], capacity: int) -> None:
    ring, model = ReplayRing(capacity), bytearray()

    for number, size in enumerate(sizes):
        chunk = bytes((number + i) % 251 for i in range(size))
        ring.append(chunk, 1)
        model += chunk

    kept = bytearray()
    while isinstance(found := ring.read(ring.start + len(kept), 700), Output):
        kept += found.data
    assert kept == model[-capacity:]


def test_an_idle_ring_takes_no_memory_of_its_capacity() -> None:
    ring = ReplayRing(1 << 20)
    ring.append(b"$ ", 1)

    assert len(ring._buffer) <= 512


@given(st.lists(st.sampled_from([1, 2]), min_size=1, max_size=60), st.integers(1, 4))
def test_a_cursor_that_follows_sees_every_byte_once_with_its_stream(streams: list[int], limit: int) -> None:
    ring, seen, offset = ReplayRing(4096), [], 0

    for number, stream in enumerate(streams):
        ring.append(bytes((number,)) * 3, stream)
        if number % 2:
            while isinstance(found := ring.read(offset, limit), Output):
                offset += len(found.data)
                seen += [(byte, found.stream) for byte in found.data]
    while isinstance(found := ring.read(offset, limit), Output):
        offset += len(found.data)
        seen += [(byte, found.stream) for byte in found.data]

    assert seen == [(number, stream) for number, stream in enumerate(streams) for _ in range(3)]


def test_streams_that_alternate_byte_by_byte_cannot_make_the_index_large() -> None:
    ring = ReplayRing(1 << 20)

    for number in range(3 * SEGMENTS_MAX):
        ring.append(b"x", 1 + number % 2)

    assert len(ring._segments) <= SEGMENTS_MAX
    assert ring.end - ring.start == SEGMENTS_MAX
    assert ring.read(0, 10) == Gap(ring.start, ring.start)
    assert ring.read(ring.start, 10) == Output(ring.start, 1 + ring.start % 2, b"x")


def test_a_reader_that_is_waited_for_when_it_is_crowded_loses_nothing() -> None:
    """Whoever stops writing as long as `is_crowded` holds never pushes that reader out of the ring."""
    ring, offset = ReplayRing(1 << 20), 0
    for number in range(2 * SEGMENTS_MAX):
        while ring.is_crowded(offset):
            found = ring.read(offset, 1)
            assert isinstance(found, Output)
            offset += 1
        ring.append(b"x", 1 + number % 2)

        assert ring.start <= offset


def test_a_reader_at_the_end_is_never_crowded() -> None:
    ring = ReplayRing(1 << 20)

    for number in range(2 * SEGMENTS_MAX):
        ring.append(b"x", 1 + number % 2)
        assert not ring.is_crowded(ring.end)


def test_one_write_larger_than_the_ring_leaves_its_tail() -> None:
    ring = ReplayRing(10)
    ring.append(b"ab", 2)

    ring.append(bytes(range(25)), 1)

    assert (ring.start, ring.end) == (17, 27)
    assert ring.read(17, 100) == Output(17, 1, bytes(range(15, 25)))
    assert ring.read(3, 100) == Gap(14, 17)


@pytest.mark.parametrize(("offset", "limit"), [(4, 1), (-1, 1), (0, 0)])
def test_an_offset_that_never_was_and_a_limit_below_one_are_refused(offset: int, limit: int) -> None:
    ring = ReplayRing(10)
    ring.append(b"abc", 1)

    with pytest.raises(ValueError, match=f"offset {offset}"):
        ring.read(offset, limit)


def test_a_ring_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="capacity: 0"):
        ReplayRing(0)
