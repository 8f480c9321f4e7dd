"""Idle memory: what the server process grows by when many sessions are open and say nothing."""

import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.client import SMALL_BUFFER_BYTES
from benchmarks.figures import Samples, Scale
from benchmarks.programs import CHILD
from benchmarks.servers import Server, System, running_one

WARM_UP_SESSIONS = 10


def measure(systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    """Record `idle`. Each round has a fresh server: memory that was once asked for is not all given back."""
    for _ in range(scale.idle_rounds):
        for system in systems:
            if system.missing is None:
                with running_one(system, [CHILD, "echo"]) as server:
                    samples.add("idle", system.name, _bytes_per_session(server, scale) / 1e3)


def _bytes_per_session(server: Server, scale: Scale) -> float:
    with ExitStack() as stack:
        _open(server, WARM_UP_SESSIONS, stack)
        before = _settled_bytes(server, scale.settle_s)
        _open(server, scale.idle_sessions, stack)
        return (_settled_bytes(server, scale.settle_s) - before) / scale.idle_sessions


def _open(server: Server, count: int, stack: ExitStack) -> None:
    for _ in range(count):
        session = stack.enter_context(server.connect(SMALL_BUFFER_BYTES))
        session.expect_output()


def _settled_bytes(server: Server, settle_s: float) -> int:
    time.sleep(settle_s)  # until what opening a session left behind is done
    return server.resident_bytes()
