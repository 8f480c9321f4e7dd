"""The benchmark runner, by a smoke run: it works, leaves nobody out and loses nothing. Says nothing about speed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
RUN_DEADLINE_S = 180

SERVERS = {"ws-subprocess", "terminado", "websocketd"}
BOTH_DIALECTS = {"floor", "ws-subprocess.v1"} | SERVERS
MEASURED = {
    "bulk": BOTH_DIALECTS,
    "bulk_cpu": BOTH_DIALECTS,
    "echo_p50": BOTH_DIALECTS,
    "echo_p99": BOTH_DIALECTS,
    "echo_many_p50": BOTH_DIALECTS,
    "echo_many_p99": BOTH_DIALECTS,
    "first_byte": {"floor"} | SERVERS,
    "rate": SERVERS,
    "idle": SERVERS,
    "complete": SERVERS,
    "ready": SERVERS,
    "help": {"floor", "ws-subprocess", "websocketd"},
}


JOB_SERVERS = {"ws-subprocess", "Flask-Shell2HTTP"}
JOBS_MEASURED = {
    "jobs_true",
    "jobs_true_p50",
    "jobs_true_p99",
    "jobs_echo",
    "jobs_echo_p50",
    "jobs_echo_p99",
    "post_p50",
    "post_p99",
    "job_alone_p50",
    "job_cpu",
    "report_memory",
    "report_s",
}


def run_benchmarks(*options: str, path: str = os.environ["PATH"]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--quick", *options],
        cwd=ROOT,
        env=os.environ | {"PATH": path},
        stdout=subprocess.PIPE,
        timeout=RUN_DEADLINE_S,
        check=True,
        text=True,
    )
    return done.stdout


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """One smoke run's JSON, with its table under `table`."""
    file = tmp_path_factory.mktemp("benchmarks") / "run.json"
    table = run_benchmarks("--json", str(file))
    return json.loads(file.read_text()) | {"table": table}


@pytest.fixture(scope="module")
def jobs_run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A smoke run of jobs over HTTP."""
    file = tmp_path_factory.mktemp("benchmarks") / "jobs.json"
    table = run_benchmarks("--http", "--json", str(file))
    return json.loads(file.read_text()) | {"table": table}


def test_every_figure_of_jobs_has_a_sample_above_zero_of_every_server_that_is_installed(
    jobs_run: dict[str, Any],
) -> None:
    expected = dict.fromkeys(JOBS_MEASURED, JOB_SERVERS - jobs_run["missing"].keys())

    assert {key: set(by_system) for key, by_system in jobs_run["samples"].items()} == expected
    assert all(min(values) > 0 for by_system in jobs_run["samples"].values() for values in by_system.values())


def test_the_table_of_jobs_has_no_floor_and_names_the_peer(jobs_run: dict[str, Any]) -> None:
    assert jobs_run["table"].splitlines()[0] == "| median (min..max) | ws-subprocess | Flask-Shell2HTTP |"
    assert "≥ 1x Flask-Shell2HTTP: " in jobs_run["table"]


def test_every_figure_has_a_sample_of_every_system_that_is_installed(run: dict[str, Any]) -> None:
    expected = {key: systems - run["missing"].keys() for key, systems in MEASURED.items()}

    assert {key: set(by_system) for key, by_system in run["samples"].items()} == expected


def test_every_sample_is_above_zero(run: dict[str, Any]) -> None:
    samples = [
        (key, system, value)
        for key, by_system in run["samples"].items()
        for system, values in by_system.items()
        for value in values
    ]

    assert samples
    assert [sample for sample in samples if sample[2] <= 0] == []


def test_no_output_of_the_daemon_is_lost(run: dict[str, Any]) -> None:
    assert set(run["samples"]["complete"]["ws-subprocess"]) == {100.0}


def test_the_table_names_every_system_and_every_goal(run: dict[str, Any]) -> None:
    head = run["table"].splitlines()[0]

    assert head == "| median (min..max) | floor | ws-subprocess | ws-subprocess.v1 | terminado | websocketd |"
    assert run["table"].count("reached") + run["table"].count("**missed**") == 8


def test_a_peer_that_is_not_installed_is_named_in_the_table(run: dict[str, Any], tmp_path: Path) -> None:
    # `run` has compiled everything, so that an empty PATH lacks nothing but websocketd.
    table = run_benchmarks("--only", "launch", path=str(tmp_path))

    [row] = [line for line in table.splitlines() if line.startswith("| exec to ready, s |")]
    assert row.endswith("| not installed |")
