"""Jobs over HTTP: how many a second come back as reports, how long each takes, what CPU and what memory they cost."""

import asyncio
import time
from collections.abc import Callable, Sequence

import uvloop

from benchmarks.cpus import CHILD_CPU, only_on
from benchmarks.figures import Samples, Scale
from benchmarks.job_client import Timing, WrongAnswerError, connected
from benchmarks.job_servers import JobServer, JobSystem, running_jobs

AT_ONCE = 16
WARM_UP_S = 0.5


def measure(systems: Sequence[JobSystem], scale: Scale, samples: Samples) -> None:
    """Record all figures of jobs."""
    with only_on(CHILD_CPU), running_jobs(systems) as servers:
        for server in servers:
            uvloop.run(_run_at_once(server, "true", [], WARM_UP_S))
        for _ in range(scale.rounds):
            for server in servers:
                _measure_true(server, scale.jobs_s, samples)
            for server in servers:
                timings, elapsed_s = uvloop.run(_run_at_once(server, "echo", ["hello"], scale.jobs_s))
                _record_jobs(samples, "jobs_echo", server, timings, elapsed_s)
            for server in servers:
                timings = uvloop.run(_run_in_turn(server, scale.jobs_alone))
                samples.add("job_alone_p50", server.system.name, 1e3 * _percentile(timings, 0.5, _reported))
    for _ in range(scale.report_rounds):
        for system in systems:
            # Each round has a fresh server: a peak is never taken back.
            with only_on(CHILD_CPU), running_jobs([system]) as servers:
                for server in servers:
                    _measure_report(server, scale.report_bytes, samples)


def _measure_true(server: JobServer, duration_s: float, samples: Samples) -> None:
    name, cpu_started_s = server.system.name, server.cpu_s()
    timings, elapsed_s = uvloop.run(_run_at_once(server, "true", [], duration_s))
    samples.add("job_cpu", name, 1e3 * (server.cpu_s() - cpu_started_s) / len(timings))
    _record_jobs(samples, "jobs_true", server, timings, elapsed_s)
    samples.add("post_p50", name, 1e3 * _percentile(timings, 0.5, _accepted))
    samples.add("post_p99", name, 1e3 * _percentile(timings, 0.99, _accepted))


def _measure_report(server: JobServer, size_bytes: int, samples: Samples) -> None:
    started = time.perf_counter()
    received = uvloop.run(_read_report(server, size_bytes))
    if received < size_bytes:
        raise WrongAnswerError(f"{server.system.name}: a report of {received} bytes, {size_bytes} of output")
    samples.add("report_s", server.system.name, time.perf_counter() - started)
    samples.add("report_memory", server.system.name, server.peak_bytes() / 1e6)


def _record_jobs(samples: Samples, key: str, server: JobServer, timings: list[Timing], elapsed_s: float) -> None:
    name = server.system.name
    samples.add(key, name, len(timings) / elapsed_s)
    samples.add(f"{key}_p50", name, 1e3 * _percentile(timings, 0.5, _reported))
    samples.add(f"{key}_p99", name, 1e3 * _percentile(timings, 0.99, _reported))


async def _run_at_once(
    server: JobServer, command: str, args: list[str], duration_s: float
) -> tuple[list[Timing], float]:
    """Run jobs from AT_ONCE clients; return their timings, and the seconds until the last had its report."""
    started = time.perf_counter()
    timings: list[Timing] = []

    async def be_a_client() -> None:
        async with connected(server.port) as client:
            while time.perf_counter() - started < duration_s:
                timings.append(await client.run(command, args))

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(be_a_client())
    return timings, time.perf_counter() - started


async def _run_in_turn(server: JobServer, count: int) -> list[Timing]:
    async with connected(server.port) as client:
        return [await client.run("true", []) for _ in range(count)]


async def _read_report(server: JobServer, size_bytes: int) -> int:
    """Run a job that writes so much; return the bytes of its report's answer."""
    async with connected(server.port) as client:
        key = await client.start("child", ["write", str(size_bytes)])
        return await client.count_report("child", key)


def _accepted(timing: Timing) -> float:
    return timing.accepted_s


def _reported(timing: Timing) -> float:
    return timing.reported_s


def _percentile(timings: list[Timing], share: float, read: Callable[[Timing], float]) -> float:
    values = sorted(map(read, timings))
    return values[int(len(values) * share)]
