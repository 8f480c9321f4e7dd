"""Start: the time from connect to the child's first byte, and the sessions a second that come and go, 16 at once."""

import statistics
import threading
import time
from collections.abc import Sequence

from benchmarks.client import SMALL_BUFFER_BYTES
from benchmarks.figures import FLOOR, Samples, Scale
from benchmarks.programs import CHILD, run_floor
from benchmarks.servers import Server, System, running

AT_ONCE = 16


class ClientFailedError(Exception):
    """Some of the clients at once did not do their part."""


def measure(systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    """Record `first_byte` and `rate`."""
    command = [CHILD, "write", "1"]
    with running(systems, command) as servers:
        for _ in range(scale.rounds):
            samples.add("first_byte", FLOOR, run_floor("spawn_floor", str(scale.starts), *command)["p50_s"] * 1e3)
            for server in servers:
                samples.add("first_byte", server.system.name, _first_byte_p50_s(server, scale) * 1e3)
        for _ in range(scale.rounds):
            for server in servers:
                samples.add("rate", server.system.name, _sessions_per_s(server, scale.rate_s))


def _first_byte_p50_s(server: Server, scale: Scale) -> float:
    """Start one session after the other, as many as the scale says or as fit its time."""
    seconds: list[float] = []
    deadline = time.monotonic() + scale.start_limit_s
    while len(seconds) < scale.starts and time.monotonic() < deadline:
        seconds.append(_one_session(server))
    return statistics.median(seconds)


def _one_session(server: Server) -> float:
    """Open a session, read its byte, close it; return the seconds from connect to that byte."""
    started = time.perf_counter()
    with server.connect(SMALL_BUFFER_BYTES) as session:
        session.expect_output()
        seconds = time.perf_counter() - started
        session.finish()
    return seconds


def _sessions_per_s(server: Server, duration_s: float) -> float:
    """Open and close sessions from AT_ONCE threads; return how many were done a second."""
    started = time.perf_counter()
    counts: list[int] = []

    def open_and_close() -> None:
        done = 0
        while time.perf_counter() - started < duration_s:
            _one_session(server)
            done += 1
        counts.append(done)

    threads = [threading.Thread(target=open_and_close) for _ in range(AT_ONCE)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(counts) < AT_ONCE:
        raise ClientFailedError(f"{server.system.name}: {AT_ONCE - len(counts)} of {AT_ONCE} clients failed, see above")
    return sum(counts) / (time.perf_counter() - started)
