"""Non-blocking streams of a child: reading its output in bursts, writing its input through a bounded queue.

Laws: what is there is read at once and handed on whole (one frame per burst; no timer waits for more); reading never
waits for writing; a full pipe or terminal stops the writer, not the loop.
"""

import asyncio
import errno
import os
from collections.abc import Callable
from time import perf_counter

BURST_BYTES = 64 * 1024
# A terminal hands out at most 4,095 bytes a read, so a short one means that it is empty, and saves asking once more.
_SHORT_READ_BYTES = 1024
_FLOOD_BYTES = 4096
# In a flood the kernel refills the terminal's 4 KiB while we read them: asking twice more costs a microsecond or two.
_REFILL_RETRIES = 2
# Where a read is slow, the kernel wakes the writer on another processor for every 4 KiB, which on virtual machines
# takes longer than all the rest. Left alone for a moment it refills in peace: 71 -> 125 MB/s, no more CPU time.
_SLOW_READ_S = 20e-6
_REFILL_S = 20e-6


class OutputReader:
    """Reads one descriptor whenever it is readable and hands on bursts of at most 64 KiB.

    Args:
        scratch: Where bursts are read into, shared by all readers of a loop; `on_data` must copy what it keeps.
        on_end: Called once when the descriptor has given its last byte.
    """

    __slots__ = ("_loop", "_on_data", "_on_end", "_reading", "_scratch", "fd", "is_done", "stream")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        stream: int,
        scratch: memoryview,
        on_data: Callable[[int, memoryview], None],
        on_end: Callable[["OutputReader"], None],
    ) -> None:
        self._loop = loop
        self._scratch = scratch
        self._on_data = on_data
        self._on_end = on_end
        self._reading = False
        self.fd = fd
        self.stream = stream
        self.is_done = False

    def resume(self) -> None:
        """Read from now on; nothing happens when it does already or the end was reached."""
        if not self._reading and not self.is_done:
            self._reading = True
            self._loop.add_reader(self.fd, self._read)

    def pause(self) -> None:
        """Leave further output where it is: the child will be stopped by its full terminal or pipe."""
        if self._reading:
            self._reading = False
            self._loop.remove_reader(self.fd)

    def finish(self) -> None:
        """Take the end as final."""
        self.pause()
        self.is_done = True

    def _read(self) -> None:
        filled, at_end = self._fill(self._scratch)
        if filled:
            self._on_data(self.stream, self._scratch[:filled])
        if at_end:
            self.pause()
            self._on_end(self)

    def _fill(self, scratch: memoryview) -> tuple[int, bool]:
        """Read one burst; return its length, and whether that was all there will ever be."""
        filled, retries = 0, _REFILL_RETRIES
        while filled < BURST_BYTES:
            began_s = perf_counter()
            try:
                count = os.readv(self.fd, (scratch[filled:],))
            except BlockingIOError:
                if filled < _FLOOD_BYTES or retries == 0:
                    break
                retries -= 1
                continue
            except OSError as exc:
                # Linux reports EIO, not an empty read, once the last descriptor of the slave is closed.
                if exc.errno != errno.EIO:
                    raise
                return filled, True
            if count == 0:
                return filled, True
            filled += count
            if count < _SHORT_READ_BYTES and filled < _FLOOD_BYTES:
                break
            ended_s = perf_counter()
            if _FLOOD_BYTES <= filled < BURST_BYTES and ended_s - began_s > _SLOW_READ_S:
                _wait_until(ended_s + _REFILL_S)
        return filled, False


class InputWriter:
    """Writes to one descriptor without waiting; what does not fit is queued, in order.

    The bound is the caller's to keep: above `limit_bytes` `write` says so, and `on_room` is called once there is room
    again.
    """

    __slots__ = (
        "_eof_wanted",
        "_limit",
        "_loop",
        "_on_eof",
        "_on_room",
        "_queue",
        "_waiting_for_room",
        "fd",
        "is_closed",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        fd: int,
        limit_bytes: int,
        on_room: Callable[[], None],
        on_eof: Callable[[], None],
    ) -> None:
        self._loop = loop
        self._limit = limit_bytes
        self._on_room = on_room
        self._on_eof = on_eof
        self._queue = bytearray()
        self._waiting_for_room = False
        self._eof_wanted = False
        self.fd = fd
        self.is_closed = False

    def write(self, data: bytes) -> bool:
        """Take all of `data`; return whether more may come (else `on_room` tells when)."""
        if self.is_closed or self._eof_wanted:
            return True
        if self._queue:
            self._queue += data
        else:
            sent = self._write_now(data)
            if sent < len(data) and not self.is_closed:
                self._queue += data[sent:]
                self._loop.add_writer(self.fd, self._drain)
        self._waiting_for_room = len(self._queue) >= self._limit
        return not self._waiting_for_room

    def end(self) -> None:
        """Call `on_eof` when everything queued was written; input after this is dropped."""
        if self._eof_wanted or self.is_closed:
            return
        self._eof_wanted = True
        if not self._queue:
            self._on_eof()

    def close(self) -> None:
        """Forget the queue and stop; the descriptor stays the owner's."""
        if not self.is_closed:
            self.is_closed = True
            if self._queue:
                self._loop.remove_writer(self.fd)
                self._queue.clear()

    def _drain(self) -> None:
        sent = self._write_now(memoryview(self._queue)[:BURST_BYTES].tobytes())
        if self.is_closed:
            return
        del self._queue[:sent]
        if not self._queue:
            self._loop.remove_writer(self.fd)
            if self._eof_wanted:
                self._on_eof()
        if self._waiting_for_room and len(self._queue) <= self._limit // 2:
            self._waiting_for_room = False
            self._on_room()

    def _write_now(self, data: bytes) -> int:
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError as exc:
            # The child reads no more (EPIPE) or its terminal is gone (EIO): nothing can use what is queued.
            if exc.errno not in (errno.EPIPE, errno.EIO):
                raise
            waiting, self._waiting_for_room = self._waiting_for_room, False
            self.close()
            if waiting:
                self._on_room()
            return 0


def _wait_until(time_s: float) -> None:
    """Wait so short a time that no timer can."""
    while perf_counter() < time_s:
        pass
