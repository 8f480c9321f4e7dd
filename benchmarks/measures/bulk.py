"""Bulk output: how fast a flood of letters comes through, and what CPU the server spends on it."""

import time
from collections.abc import Sequence

from benchmarks.client import BULK_BUFFER_BYTES
from benchmarks.cpus import CHILD_CPU, reader_cpu
from benchmarks.figures import FLOOR, Samples, Scale
from benchmarks.programs import CHILD, run_floor
from benchmarks.servers import Server, System, running


def measure(systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    """Record `bulk` and `bulk_cpu`."""
    command = [CHILD, "write", str(scale.flood_bytes), str(CHILD_CPU)]
    with running(systems, command, placed=True) as servers:
        for _ in range(scale.rounds):
            with reader_cpu():
                floor = run_floor("read_floor", *command)
            _record(samples, FLOOR, int(floor["bytes"]), floor["seconds"], floor["cpu_seconds"])
            for server in servers:
                _record(samples, server.system.name, *_flood(server))


def _flood(server: Server) -> tuple[int, float, float]:
    """Return bytes, seconds from the first to the last of them, and the server's CPU seconds meanwhile."""
    with server.connect(BULK_BUFFER_BYTES) as session:
        session.read()
        started, cpu_started = time.perf_counter(), server.cpu_s()
        total = session.read_to_end()
        return total, time.perf_counter() - started, server.cpu_s() - cpu_started


def _record(samples: Samples, system: str, total: int, seconds: float, cpu_s: float) -> None:
    samples.add("bulk", system, total / 1e6 / seconds)
    samples.add("bulk_cpu", system, cpu_s / (total / 1e9))
