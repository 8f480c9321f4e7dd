"""Launch: the time from exec to the first HTTP answer, and of `--help`; the floor is the bare interpreter."""

import subprocess
import sys
import time
from collections.abc import Sequence

from benchmarks.figures import FLOOR, Samples, Scale
from benchmarks.programs import CHILD
from benchmarks.servers import System, running_one

HELP_DEADLINE_S = 30


def measure(systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    """Record `ready` and `help`."""
    present = [system for system in systems if system.missing is None]
    for _ in range(scale.launches):
        for system in present:
            with running_one(system, [CHILD, "echo"]) as server:
                samples.add("ready", system.name, server.ready_s)
    for _ in range(scale.launches):
        samples.add("help", FLOOR, _run_s([sys.executable, "-c", "pass"]))
        for system in present:
            if system.help is not None:
                samples.add("help", system.name, _run_s(system.help))


def _run_s(command: list[str]) -> float:
    started = time.perf_counter()
    subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=HELP_DEADLINE_S, check=False)
    return time.perf_counter() - started
