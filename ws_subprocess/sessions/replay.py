"""Byte ring addressed by absolute offset. Pure: no clock, no I/O.

Laws: start <= every valid offset <= end; end only grows; start only grows; end - start <= capacity. Memory follows what
was written, up to the capacity, so an idle session costs next to nothing.
"""

from bisect import bisect_left
from dataclasses import dataclass

_FIRST_BYTES = 512
# Streams that alternate byte by byte must not make the index larger than the bytes it describes.
SEGMENTS_MAX = 4096


@dataclass(frozen=True, slots=True)
class Output:
    """Bytes of one stream; the first has this absolute offset."""

    offset: int
    stream: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Gap:
    """What was asked for has left the ring: `missing` bytes are lost, the ring starts at `resume_offset`."""

    missing: int
    resume_offset: int


class ReplayRing:
    """The last `capacity` bytes of a session's output, both streams in the order they were read.

    Args:
        capacity: Most bytes kept, at least 1.
    """

    __slots__ = ("_buffer", "_capacity", "_segments", "end", "start")

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity: {capacity} is below 1")
        self._capacity = capacity
        self._buffer = bytearray()
        # (offset, stream) of each run of bytes of one stream, oldest first. A list: an empty deque takes 0.7 KiB.
        self._segments: list[tuple[int, int]] = []
        self.start = 0
        self.end = 0

    def append(self, data: bytes | memoryview, stream: int) -> None:
        """Add bytes at the end; the oldest go when there is no room."""
        if not data:
            return
        if not self._segments or self._segments[-1][1] != stream:
            self._segments.append((self.end, stream))
        skipped = max(0, len(data) - self._capacity)
        self._make_room(self.end - self.start + len(data))
        self._write(self.end + skipped, data[skipped:])
        self.end += len(data)
        self.start = max(self.start, self.end - self._capacity)
        self._trim_segments()

    def read(self, offset: int, limit: int) -> Output | Gap | None:
        """Return what follows `offset`: at most `limit` bytes of one stream, or None at the live end.

        Raises:
            ValueError: `offset` is past the end or negative, or `limit` is below 1.
        """
        if not 0 <= offset <= self.end or limit < 1:
            raise ValueError(f"offset {offset} (end {self.end}), limit {limit}")
        if offset < self.start:
            return Gap(self.start - offset, self.start)
        if offset == self.end:
            return None
        stream, segment_end = self._find_segment(offset)
        return Output(offset, stream, self._read(offset, min(limit, segment_end - offset)))

    def is_crowded(self, offset: int) -> bool:
        """Tell whether so many changes of stream follow `offset` that more could push it out of the ring."""
        half = SEGMENTS_MAX // 2
        return len(self._segments) > half and self._segments[-half][0] > offset

    def _find_segment(self, offset: int) -> tuple[int, int]:
        """Return the stream of the run that holds `offset`, and where that run ends."""
        segments = self._segments
        if len(segments) == 1:
            return segments[0][1], self.end
        # A tuple of one sorts before every longer one that begins the same.
        after = bisect_left(segments, (offset + 1,))
        return segments[after - 1][1], segments[after][0] if after < len(segments) else self.end

    def _trim_segments(self) -> None:
        segments = self._segments
        if len(segments) > SEGMENTS_MAX:
            self.start = max(self.start, segments[1][0])
        gone = 0
        while len(segments) > gone + 1 and segments[gone + 1][0] <= self.start:
            gone += 1
        del segments[:gone]

    def _make_room(self, wanted: int) -> None:
        size = len(self._buffer)
        if wanted <= size or size == self._capacity:
            return
        kept = self._read(self.start, self.end - self.start)
        grown = max(size, _FIRST_BYTES)
        while grown < wanted:
            grown *= 2
        self._buffer = bytearray(min(grown, self._capacity))
        self._write(self.start, kept)

    def _write(self, offset: int, data: bytes | memoryview) -> None:
        size = len(self._buffer)
        at = offset % size
        head = min(len(data), size - at)
        self._buffer[at : at + head] = data[:head]
        if head < len(data):
            self._buffer[: len(data) - head] = data[head:]

    def _read(self, offset: int, count: int) -> bytes:
        if count == 0:
            return b""
        size = len(self._buffer)
        at = offset % size
        if at + count <= size:
            return bytes(memoryview(self._buffer)[at : at + count])
        head = size - at
        view = memoryview(self._buffer)
        return b"".join((view[at:], view[: count - head]))
