"""What becomes of jobs when their daemon died: found again, ended or begun, and never begun twice."""

import os
import secrets
import signal
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from observing import until
from working import OWNER, REQUEST, WAIT_S, build_app, finish, is_running, read_all, run_jobs, shell

from ws_subprocess.model import Confinement, Grant, Right
from ws_subprocess.service.job import Job, JobId, JobSpec, JobState
from ws_subprocess.service.records import make_job, make_row, read_job, read_spec
from ws_subprocess.store.jobs import JobStore
from ws_subprocess.store.used_tokens import StateError


def read_everything(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


@contextmanager
def left_over(script: str, session: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run a shell script with the mark of a session; it is killed in the end, unless somebody did before."""
    process = subprocess.Popen(
        ["/bin/sh", "-c", script], env={"WS_SUBPROCESS_SESSION": session, "PATH": "/usr/bin:/bin"}
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def leave(folder: Path, spec: JobSpec, **known: object) -> Job:
    """Write down a job as a daemon does that dies now."""
    spec = replace(spec, grant=replace(spec.grant, tty=False))
    job = replace(make_job(JobId(secrets.token_hex(16)), spec, time.time()), **known)  # type: ignore[arg-type]
    store = JobStore("", folder)
    await store.insert(make_row(job, spec, REQUEST))
    await store.close()
    return job


def test_a_job_comes_back_from_its_row_as_it_went_in() -> None:
    grant = Grant("/bin/x", ("a", "b c"), "/tmp", tty=False, title="t", rights=frozenset({Right.VIEW}), principal="p")
    grant = replace(grant, confinement=Confinement(user="nobody", memory_bytes=1), max_output_bytes=5)
    spec = JobSpec("d", "n", grant, OWNER, "k", "lane", 3, 4.5, 6.0, facts={"a": [1]}, folder=Path("/x"))
    job = replace(make_job(JobId("1" * 32), spec, 1.5), exit_code=3, ended_at=5.0, is_cut=True)

    row = make_row(job, spec, REQUEST)

    assert read_job(row) == job
    assert read_spec(row) == (spec, replace(REQUEST, door="d"))


async def test_a_job_that_waited_runs_after_the_restart(tmp_path: Path) -> None:
    job = await leave(tmp_path, shell("echo late"))

    async with run_jobs(tmp_path) as jobs:
        ended = await jobs.wait(job.id, WAIT_S)

        assert ended.state is JobState.FINISHED
        assert await read_all(jobs, ended) == b"late\n"


@pytest.mark.parametrize("spec", [shell("cat", stdin=b"s3cret"), shell("env", env={"TOKEN": "s3cret"})])
async def test_a_waiting_job_whose_secrets_were_in_memory_only_is_lost(tmp_path: Path, spec: JobSpec) -> None:
    job = await leave(tmp_path, spec)

    async with run_jobs(tmp_path) as jobs:
        ended = await jobs.wait(job.id, WAIT_S)

    assert (ended.state, ended.started_at) == (JobState.LOST, None)
    assert "memory only" in ended.error
    assert b"s3cret" not in read_everything(tmp_path)


async def test_a_waiting_job_that_the_settings_allow_no_more_does_not_run(tmp_path: Path) -> None:
    job = await leave(tmp_path, shell(f"touch {tmp_path}/ran"))

    async with run_jobs(tmp_path, allow_commands=("/bin/true",)) as jobs:
        ended = await jobs.wait(job.id, WAIT_S)

    assert ended.state is JobState.LOST
    assert "allow_commands" in ended.error
    assert "ran" not in os.listdir(tmp_path)


async def test_a_job_that_worked_is_lost_with_the_output_there_was(tmp_path: Path) -> None:
    job = await leave(tmp_path, shell("echo again"), state=JobState.WORKING, session="5" * 32, started_at=1.0)
    (tmp_path / "spool" / job.id).mkdir(parents=True)
    (tmp_path / "spool" / job.id / "stdout").write_bytes(b"so far")

    async with run_jobs(tmp_path) as jobs:
        ended = await jobs.wait(job.id, WAIT_S)

        assert (ended.state, ended.exit_code, ended.stdout_sha256) == (JobState.LOST, None, "")
        assert ended.error == "the daemon ended while the command ran"
        assert ended.stdout_bytes == 6
        assert await read_all(jobs, ended) == b"so far"


async def test_processes_of_a_dead_daemon_are_ended_before_anything_begins(tmp_path: Path) -> None:
    mark, session = f"9{secrets.randbelow(10**9):09}", secrets.token_hex(16)
    script = f"trap '' HUP TERM; setsid sleep {mark} & (setsid sh -c 'sleep {mark}' &) & exec sleep {mark}"
    with left_over(script, session) as left, left_over("exec sleep 60", "0" * 32) as innocent:
        await until(lambda: is_running(mark))
        await leave(tmp_path, shell("true"), state=JobState.WORKING, session=session)

        async with run_jobs(tmp_path):
            assert not is_running(mark)

        await until(lambda: left.poll() is not None)
        assert left.returncode == -signal.SIGKILL
        assert innocent.poll() is None


async def test_listeners_hear_of_lost_jobs_too(tmp_path: Path) -> None:
    job = await leave(tmp_path, shell("true"), state=JobState.WORKING)
    heard: list[Job] = []

    async def listen(ended: Job) -> None:
        heard.append(ended)

    app = build_app(tmp_path)
    app.jobs.on_end(listen)
    async with app.lifespan(app._asgi):  # type: ignore[arg-type]
        await app.jobs.wait(job.id, WAIT_S)

    assert [(ended.id, ended.state) for ended in heard] == [(job.id, JobState.LOST)]


async def test_output_and_uploads_that_are_nobodys_are_removed(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        kept = await finish(jobs, shell("echo kept"))
        left = await jobs.make_folder()
    nobodys = tmp_path / "spool" / ("e" * 32)
    nobodys.mkdir()
    (nobodys / "stdout").write_bytes(b"x")

    async with run_jobs(tmp_path) as jobs:
        await jobs.start()

        assert not nobodys.exists()
        assert not left.exists()
        assert await read_all(jobs, kept) == b"kept\n"


async def test_a_second_daemon_does_not_take_the_jobs_of_a_living_one(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("sleep 0.2"), REQUEST)

        with pytest.raises(StateError, match="another daemon"):
            async with run_jobs(tmp_path):
                pass

        assert (await jobs.wait(job.id, WAIT_S)).state is JobState.FINISHED


async def test_what_is_told_is_on_the_disk_before(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_running=1) as jobs:

        def read_states() -> list[str]:
            with closing(sqlite3.connect(f"file:{tmp_path}/jobs.sqlite3?mode=ro", uri=True)) as database:
                return [state for (state,) in database.execute("SELECT state FROM jobs ORDER BY number")]

        first = await jobs.submit(shell("read -r line", takes_input=True), REQUEST)
        await jobs.submit(shell(f"touch {tmp_path}/begun; exec sleep 60"), REQUEST)
        await until(lambda: jobs._queue.get(first.id).session is not None)  # type: ignore[union-attr]
        running = read_states()
        await jobs.end_input(first.id)
        await until((tmp_path / "begun").exists, "the one that waited")

        assert running == ["working", "pending"]
        assert read_states() == ["finished", "working"]


async def test_a_beginning_that_could_not_be_written_down_is_written_down_by_the_next_attempt(tmp_path: Path) -> None:
    async with run_jobs(tmp_path / "state", max_sessions=1) as jobs:
        with closing(sqlite3.connect(tmp_path / "state" / "jobs.sqlite3", isolation_level=None)) as other:
            with jobs._launcher._registry.place("somebody else's session"):
                job = await jobs.submit(shell(f"touch {tmp_path}/begun; sleep 60"), REQUEST)
                await until(lambda: jobs._queue._rest is not None)
                other.execute("ALTER TABLE jobs RENAME TO elsewhere")
            # Twice, so that one of them has met the table that is not there.
            for _ in range(2):
                await until(lambda: jobs._queue._rest is None)
                await until(lambda: jobs._queue._rest is not None)
            other.execute("ALTER TABLE elsewhere RENAME TO jobs")
            await until((tmp_path / "begun").exists)

            row = other.execute("SELECT state, session FROM jobs WHERE id = ?", (job.id,)).fetchone()
            live = jobs._queue.get(job.id)
            assert live is not None
            assert row == ("working", live.session_id)


async def test_an_end_that_cannot_be_written_down_is_seen_once_it_can(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("read -r line", takes_input=True), REQUEST)
        await until(lambda: jobs._queue.get(job.id).session is not None)  # type: ignore[union-attr]
        session = jobs._queue.get(job.id).session  # type: ignore[union-attr]
        assert session is not None
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            await jobs.end_input(job.id)
            await session.finished
            blocked = await jobs.get(job.id)
            other.execute("ROLLBACK")

        ended = await jobs.wait(job.id, WAIT_S)

    assert blocked is not None
    assert blocked.state is JobState.WORKING
    assert ended.state is JobState.FINISHED


async def test_a_second_daemon_takes_no_jobs_of_a_database_that_they_were_to_share(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/shared.sqlite3"
    async with run_jobs(tmp_path / "one", database_url=url) as jobs:
        job = await jobs.submit(shell("sleep 60"), REQUEST)

        with pytest.raises(StateError, match="another daemon has its jobs there"):
            async with run_jobs(tmp_path / "two", database_url=url):
                pass

        found = await jobs.get(job.id)
        assert found is not None
        assert not found.state.is_end
