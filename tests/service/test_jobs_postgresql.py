"""Jobs in PostgreSQL: what SQLite does for them, a real server does as well."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest
from observing import until
from postgresql import cut_connections, find_programs, make_database, run_postgresql
from working import OWNER, REQUEST, WAIT_S, build_app, finish, read_all, run_jobs, shell

from ws_subprocess.service.job import JobExistsError, JobState
from ws_subprocess.store.used_tokens import StateError


@pytest.fixture(scope="module")
def server() -> Iterator[Path]:
    """A server. On a developer's machine it may be missing, in CI it may not."""
    programs = find_programs()
    if programs is None:
        complaint = "not run: no PostgreSQL here; install its server"
        if os.environ.get("CI"):
            pytest.fail(complaint)
        pytest.skip(complaint)
    with run_postgresql(programs) as folder:
        yield folder


@pytest.fixture
def url(server: Path) -> str:
    """A database of its own."""
    return make_database(server, f"jobs-{secrets.token_hex(8)}")


async def test_a_job_runs_and_is_found_after_a_restart(tmp_path: Path, url: str) -> None:
    async with run_jobs(tmp_path, database_url=url) as jobs:
        ended = await finish(jobs, shell("printf out; exit 3", facts={"a": [1, "é"]}))
        assert await read_all(jobs, ended) == b"out"

    async with run_jobs(tmp_path, database_url=url) as jobs:
        assert await jobs.get(ended.id) == ended
    assert (ended.state, ended.exit_code, ended.facts["a"]) == (JobState.FINISHED, 3, [1, "é"])
    assert not (tmp_path / "jobs.sqlite3").exists()


async def test_a_taken_key_is_refused_and_a_forgotten_one_is_free(tmp_path: Path, url: str) -> None:
    async with run_jobs(tmp_path, database_url=url) as jobs:
        job = await jobs.submit(shell("sleep 60", key="k"), REQUEST)
        with pytest.raises(JobExistsError) as caught:
            await jobs.submit(shell("true", key="k"), REQUEST)
        assert caught.value.job.id == job.id
        await jobs.forget(job.id)

        assert (await finish(jobs, shell("true", key="k"))).state is JobState.FINISHED


async def test_what_waited_runs_after_a_restart_and_what_worked_is_ended(tmp_path: Path, url: str) -> None:
    async with run_jobs(tmp_path / "state", database_url=url, max_jobs_running=1) as jobs:
        working = await jobs.submit(shell("sleep 60"), REQUEST)
        waiting = await jobs.submit(shell(f"echo x >> {tmp_path}/ran"), REQUEST)

    async with run_jobs(tmp_path / "state", database_url=url) as jobs:
        assert (await jobs.wait(waiting.id, WAIT_S)).state is JobState.FINISHED
        ended = await jobs.get(working.id)
    assert ended is not None
    assert ended.state is JobState.KILLED
    assert (tmp_path / "ran").read_text() == "x\n"


async def test_lists_go_on_from_page_to_page_and_surplus_results_are_forgotten(tmp_path: Path, url: str) -> None:
    async with run_jobs(tmp_path, database_url=url, max_jobs_kept=3) as jobs:
        ids = [(await finish(jobs, shell(f"echo {n}"))).id for n in range(5)]
        first = await jobs.list("commands", "sh", OWNER, limit=2)
        rest = await jobs.list("commands", "sh", OWNER, after=first.after, limit=10)
        assert [job.id for job in (*first.jobs, *rest.jobs)] == ids

        await jobs._retain()
        assert [job.id for job in (await jobs.list("commands", "sh", OWNER)).jobs] == ids[-3:]


async def test_a_second_daemon_is_kept_out_until_the_first_has_ended(tmp_path: Path, url: str) -> None:
    async with run_jobs(tmp_path / "first", database_url=url):
        with pytest.raises(StateError, match="another daemon has its jobs there; let it end"):
            _ = build_app(tmp_path / "second", database_url=url).jobs

    async with run_jobs(tmp_path / "second", database_url=url) as jobs:
        assert (await finish(jobs, shell("true"))).state is JobState.FINISHED


async def test_a_lost_connection_is_made_again(tmp_path: Path, url: str, server: Path) -> None:
    async with run_jobs(tmp_path, database_url=url) as jobs:
        job = await jobs.submit(shell("read line; echo $line", takes_input=True), REQUEST)
        await until(lambda: (live := jobs._queue.get(job.id)) is not None and live.session is not None)
        cut_connections(server)
        assert await jobs.write_input(job.id, b"still there\n")

        assert (await jobs.wait(job.id, WAIT_S)).state is JobState.FINISHED
        assert await read_all(jobs, job) == b"still there\n"


def test_a_database_that_is_not_there_is_named(tmp_path: Path, server: Path) -> None:
    app = build_app(tmp_path, database_url=f"postgresql+psycopg://tester@/jobs-nowhere?host={server}")

    with pytest.raises(StateError, match='database "jobs-nowhere" does not exist; see that the daemon can reach'):
        _ = app.jobs
