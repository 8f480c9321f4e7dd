"""Which process runs on which CPU where one wake-up decides the figure.

On two free CPUs the scheduler spreads a PTY's two ends; with a busy neighbour it puts them on one, and an echo then
takes 15 µs or 60 instead of 40, a flood passes at 200 MB/s instead of 85. So for bulk and echo, whoever reads the PTY
(floor or server) stays on one CPU and the child on another, in every column; the client runs where it likes.
For jobs over HTTP a server and all that it starts have one CPU, and the client has the other.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

READER_CPU = min(os.sched_getaffinity(0))
CHILD_CPU = max(os.sched_getaffinity(0))


@contextmanager
def only_on(cpu: int) -> Iterator[None]:
    """Stay on one CPU until the block ends; what is started in it, and its threads, stay there for good."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {cpu})
    try:
        yield
    finally:
        os.sched_setaffinity(0, allowed)


def reader_cpu() -> AbstractContextManager[None]:
    """Let what is started in this block stay on the reader's CPU."""
    return only_on(READER_CPU)
