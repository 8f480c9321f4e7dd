"""What is measured, in which unit, what the daemon has to reach, and the samples of one run. Pure."""

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

FLOOR = "floor"
DAEMON = "ws-subprocess"
SHELL2HTTP = "Flask-Shell2HTTP"


@dataclass(frozen=True)
class Goal:
    """What the daemon has to reach: a limit in the figure's unit, or in multiples of another system's value."""

    limit: float
    of: str | None = None


@dataclass(frozen=True)
class Figure:
    """One row of the table.

    Attributes:
        more_is_better: Direction of `goal`, and of praise.
        summary: Makes one value of the samples. The median, but where one bad sample is a fault, the worst.
    """

    key: str
    title: str
    unit: str
    more_is_better: bool = False
    goal: Goal | None = None
    summary: Callable[[Sequence[float]], float] = statistics.median


FIGURES = {
    figure.key: figure
    for figure in (
        Figure("bulk", "bulk output", "MB/s", more_is_better=True, goal=Goal(1.2, of=FLOOR)),
        Figure("bulk_cpu", "server CPU for it", "s/GB"),
        Figure("echo_p50", "echo, 1 session, p50", "µs", goal=Goal(2.5, of=FLOOR)),
        Figure("echo_p99", "echo, 1 session, p99", "µs"),
        Figure("echo_many_p50", "echo, 50 sessions, p50", "µs"),
        Figure("echo_many_p99", "echo, 50 sessions, p99", "µs"),
        Figure("first_byte", "connect to first byte, p50", "ms", goal=Goal(3.5, of=FLOOR)),
        Figure("rate", "sessions, 16 at once", "1/s", more_is_better=True, goal=Goal(500)),
        Figure("idle", "memory per idle session", "KB", goal=Goal(40)),
        Figure(
            "complete", "output complete, child exits at once", "%", more_is_better=True, goal=Goal(100), summary=min
        ),
        Figure("ready", "exec to ready", "s", goal=Goal(0.6)),
        Figure("help", "`--help`", "s", goal=Goal(0.15)),
        Figure("jobs_true", "jobs of `true`, 16 clients", "1/s", more_is_better=True, goal=Goal(1, of=SHELL2HTTP)),
        Figure("jobs_true_p50", "`true`: POST to report, p50", "ms"),
        Figure("jobs_true_p99", "`true`: POST to report, p99", "ms", goal=Goal(1, of=SHELL2HTTP)),
        Figure(
            "jobs_echo", "jobs of `echo hello`, 16 clients", "1/s", more_is_better=True, goal=Goal(1, of=SHELL2HTTP)
        ),
        Figure("jobs_echo_p50", "`echo`: POST to report, p50", "ms"),
        Figure("jobs_echo_p99", "`echo`: POST to report, p99", "ms", goal=Goal(1, of=SHELL2HTTP)),
        Figure("post_p50", "`true`: POST to 202, p50", "ms"),
        Figure("post_p99", "`true`: POST to 202, p99", "ms"),
        Figure("job_alone_p50", "`true`, 1 client: POST to report, p50", "ms"),
        Figure("job_cpu", "`true`: CPU of a job and its command", "ms"),
        Figure("report_memory", "1 GB of output: peak memory", "MB", goal=Goal(1, of=SHELL2HTTP)),
        Figure("report_s", "1 GB of output: POST to its report's end", "s"),
    )
}


@dataclass(frozen=True)
class Scale:
    """How much of everything: counts, bytes and seconds of one round; `rounds` alternate between all systems."""

    rounds: int
    flood_bytes: int
    keys: int
    many_sessions: int
    many_keys: int
    starts: int
    start_limit_s: float
    rate_s: float
    idle_sessions: int
    idle_rounds: int
    settle_s: float
    exits: int
    launches: int
    jobs_s: float
    jobs_alone: int
    report_bytes: int
    report_rounds: int


FULL = Scale(
    rounds=5,
    flood_bytes=256_000_000,
    keys=5000,
    many_sessions=50,
    many_keys=4000,
    starts=200,
    start_limit_s=4,
    rate_s=3,
    idle_sessions=900,
    idle_rounds=2,
    settle_s=0.5,
    exits=20,
    launches=7,
    jobs_s=3,
    jobs_alone=100,
    report_bytes=1_000_000_000,
    report_rounds=2,
)
QUICK = Scale(
    rounds=1,
    flood_bytes=8_000_000,
    keys=50,
    many_sessions=50,
    many_keys=50,
    starts=3,
    start_limit_s=1,
    rate_s=0.2,
    idle_sessions=50,
    idle_rounds=1,
    settle_s=0.02,
    exits=3,
    launches=1,
    jobs_s=0.2,
    jobs_alone=5,
    report_bytes=8_000_000,
    report_rounds=1,
)


@dataclass(frozen=True)
class Samples:
    """One value per figure, system and round."""

    values: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, key: str, system: str, value: float) -> None:
        """Record a value in the figure's unit."""
        self.values.setdefault(FIGURES[key].key, {}).setdefault(system, []).append(value)

    def of(self, key: str, system: str) -> list[float]:
        """Return what was recorded, in order; empty when nothing was."""
        return self.values.get(key, {}).get(system, [])

    def summary(self, key: str, system: str) -> float | None:
        """Return the one value that stands for the samples."""
        values = self.of(key, system)
        return FIGURES[key].summary(values) if values else None
