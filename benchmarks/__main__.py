"""Runs the measurements and prints the tables: `python -m benchmarks [--http] [--quick] [--only NAME] [--json F]`."""

import argparse
import gc
import json
import os
import platform
import resource
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Protocol

from benchmarks import programs
from benchmarks.figures import FULL, QUICK, Samples, Scale
from benchmarks.job_servers import JobSystem, all_job_systems
from benchmarks.measures import bulk, completeness, echo, idle, jobs, launch, start
from benchmarks.report import markdown, missed_goals
from benchmarks.servers import System, all_systems


class Measure(Protocol):
    """What a module of `measures` offers."""

    def __call__(self, systems: Sequence[System], scale: Scale, samples: Samples) -> None:
        """Measure every system, round by round, and record what came out."""


MEASURES: dict[str, Measure] = {
    "launch": launch.measure,
    "bulk": bulk.measure,
    "echo": echo.measure,
    "start": start.measure,
    "completeness": completeness.measure,
    "idle": idle.measure,
}
# Where both of the daemon's dialects are worth a column; elsewhere they share all that costs.
BOTH_DIALECTS = {"bulk", "echo"}
BUSY_LOAD_PER_CPU = 0.3


def main() -> None:
    """Measure what was asked for."""
    options = _parse_options()
    try:
        programs.build()
    except programs.CompilerMissingError as error:
        sys.exit(str(error))
    _prepare_this_process()
    scale = QUICK if options.quick else FULL
    terminals, jobs_systems = ([], all_job_systems()) if options.http else (all_systems(), [])
    environment = _environment()
    samples = Samples()
    try:
        if options.http:
            _time("jobs", lambda: jobs.measure(jobs_systems, scale, samples))
        else:
            _measure(options.only or list(MEASURES), terminals, scale, samples)
    finally:  # an error in the last minute does not take the minutes before with it
        _report(samples, [*terminals, *jobs_systems], scale, environment, options.json)


def _parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Measure the daemon beside its peers.")
    parser.add_argument("--quick", action="store_true", help="smoke run of some ten seconds; its figures mean little")
    parser.add_argument("--http", action="store_true", help="jobs over HTTP instead of terminals: some two minutes")
    parser.add_argument(
        "--only", action="append", choices=MEASURES, help="one measurement of terminals; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample to FILE")
    return parser.parse_args()


def _prepare_this_process() -> None:
    """Allow thousands of descriptors, here and in the servers; collect no garbage; end in order when told to."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    gc.collect()
    gc.disable()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))  # unwinds, so every server is ended


def _measure(names: Sequence[str], systems: Sequence[System], scale: Scale, samples: Samples) -> None:
    for name in names:
        chosen = [system for system in systems if system.name != "ws-subprocess.v1" or name in BOTH_DIALECTS]
        _time(name, partial(MEASURES[name], chosen, scale, samples))


def _time(name: str, measure: Callable[[], None]) -> None:
    started = time.monotonic()
    print(f"{name} ...", file=sys.stderr, flush=True)
    measure()
    print(f"{name}: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def _report(
    samples: Samples,
    systems: Sequence[System | JobSystem],
    scale: Scale,
    environment: dict[str, object],
    json_file: Path | None,
) -> None:
    missing = {system.name: system.missing for system in systems if system.missing is not None}
    print(markdown(samples, [system.name for system in systems], missing))
    print("\n" + ", ".join(f"{name} {value}" for name, value in environment.items()))
    for line in missed_goals(samples):
        print(f"missed: {line}", file=sys.stderr)
    if json_file is not None:
        run = {"environment": environment, "scale": asdict(scale), "missing": missing, "samples": samples.values}
        json_file.write_text(json.dumps(run, indent=1) + "\n")


def _environment() -> dict[str, object]:
    """Return what the figures depend on; warn when somebody else uses the machine."""
    load, cpus = os.getloadavg()[0], os.cpu_count() or 1
    if load > BUSY_LOAD_PER_CPU * cpus:
        print(
            f"load average {load:.1f} on {cpus} CPUs: others are at work here, do not trust the ratios", file=sys.stderr
        )
    return {
        "machine": platform.platform(),
        "python": platform.python_version(),
        "cpus": cpus,
        "load average before": round(load, 2),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


if __name__ == "__main__":
    main()
