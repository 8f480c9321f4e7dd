"""Jobs from their acceptance to their end, with real commands and a real database."""

import asyncio
import hashlib
import secrets
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from observing import until
from working import OWNER, REQUEST, WAIT_S, finish, is_running, read_all, run_jobs, shell

from ws_subprocess.errors import BridgeError
from ws_subprocess.model import STDERR, Grant
from ws_subprocess.service.job import Job, JobExistsError, JobState, Owner


async def test_a_job_ends_with_its_exit_code_and_both_streams(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await finish(jobs, shell("printf out; printf error >&2; exit 3"))

        assert (job.state, job.exit_code, job.signal, job.error) == (JobState.FINISHED, 3, None, "")
        assert await read_all(jobs, job) == b"out"
        assert await read_all(jobs, job, STDERR) == b"error"
        assert (job.stdout_bytes, job.stderr_bytes, job.is_cut) == (3, 5, False)
        assert job.stdout_sha256 == hashlib.sha256(b"out").hexdigest()


async def test_a_command_that_cannot_be_started_is_a_failed_job(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await finish(jobs, replace(shell(""), grant=Grant("/no/such/program")))

        assert job.state is JobState.FAILED
        assert "No such file or directory" in job.error


async def test_a_job_is_found_by_its_key_while_it_runs_and_later(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("read -r line", key="k", takes_input=True), REQUEST)

        running = await jobs.find("commands", "sh", "k")
        await until(lambda: jobs._queue.get(job.id).session is not None)  # type: ignore[union-attr]
        assert await jobs.write_input(job.id, b"\n")
        ended = await jobs.wait(job.id, WAIT_S)

        assert running is not None
        assert not running.state.is_end
        assert await jobs.find("commands", "sh", "k") == ended
        assert await jobs.find("commands", "other", "k") is None
        assert await jobs.find("payloads", "sh", "k") is None


async def test_a_duplicate_is_refused_and_never_runs(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    async with run_jobs(tmp_path / "state") as jobs:
        spec = shell(f"echo run >> {ran}; sleep 0.1", key="k")

        outcomes = await asyncio.gather(*(jobs.submit(spec, REQUEST) for _ in range(20)), return_exceptions=True)
        accepted = [outcome for outcome in outcomes if isinstance(outcome, Job)]
        refused = [outcome for outcome in outcomes if isinstance(outcome, JobExistsError)]
        await jobs.wait(accepted[0].id, WAIT_S)

        assert (len(accepted), len(refused)) == (1, 19)
        assert {error.job.id for error in refused} == {accepted[0].id}
        assert ran.read_text() == "run\n"


async def test_a_key_is_free_again_once_its_job_is_forgotten(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        first = await finish(jobs, shell("echo 1", key="k"))

        assert await jobs.forget(first.id)
        second = await finish(jobs, shell("echo 2", key="k"))

        assert await read_all(jobs, second) == b"2\n"
        assert await read_all(jobs, first) == b""
        assert not await jobs.forget(first.id)


async def test_stopping_ends_the_whole_tree(tmp_path: Path) -> None:
    mark = f"9{secrets.randbelow(10**9):09}"
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell(f"trap '' HUP TERM; setsid sleep {mark} & sleep {mark}"), REQUEST)
        await until(lambda: is_running(mark))

        assert await jobs.stop(job.id)
        ended = await jobs.wait(job.id, WAIT_S)

        assert ended.state is JobState.KILLED
        assert not is_running(mark)
        assert not await jobs.stop(job.id)


async def test_a_waiting_job_that_is_stopped_never_starts(tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    async with run_jobs(tmp_path / "state", max_jobs_running=1) as jobs:
        first = await jobs.submit(shell("sleep 60"), REQUEST)
        second = await jobs.submit(shell(f"touch {ran}"), REQUEST)

        assert await jobs.stop(second.id)
        ended = await jobs.wait(second.id, WAIT_S)
        await jobs.forget(first.id)

        assert (ended.state, ended.started_at) == (JobState.KILLED, None)
        assert await jobs.get(first.id) is None
        assert not ran.exists()


async def test_a_timeout_ends_the_whole_tree_in_time(tmp_path: Path) -> None:
    mark = f"9{secrets.randbelow(10**9):09}"
    async with run_jobs(tmp_path) as jobs:
        job = await finish(jobs, shell(f"echo begun; sleep {mark} & sleep {mark}", timeout_s=0.2))

        assert job.state is JobState.TIMED_OUT
        assert job.error == "timed out after 0.2 seconds"
        assert job.ended_at is not None
        assert job.started_at is not None
        assert job.ended_at - job.started_at < 1.5
        assert job.signal == 9
        assert not is_running(mark)
        assert await read_all(jobs, job) == b"begun\n"


async def test_input_of_a_job_is_followed_by_its_end(tmp_path: Path) -> None:
    data = b"x" * 300_000
    async with run_jobs(tmp_path) as jobs:
        job = await finish(jobs, shell("cat", stdin=data))
        silent = await finish(jobs, shell("cat"))

        assert await read_all(jobs, job) == data
        assert silent.stdout_bytes == 0


async def test_input_may_come_while_the_job_runs(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("cat", takes_input=True), REQUEST)
        await until(lambda: jobs._queue.get(job.id).session is not None)  # type: ignore[union-attr]

        for _ in range(40):
            assert await jobs.write_input(job.id, b"y" * 100_000)
        assert await jobs.end_input(job.id)
        ended = await jobs.wait(job.id, WAIT_S)

        assert ended.stdout_bytes == 4_000_000
        assert not await jobs.write_input(job.id, b"more")


async def test_output_can_be_read_while_it_comes(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("echo one; read -r line; echo two", takes_input=True), REQUEST)
        seen = job

        while seen.stdout_bytes < 4:
            seen = await jobs.changes(seen, WAIT_S)
        live = await jobs.read_output(job.id, 1, 0, 100)
        await jobs.write_input(job.id, b"\n")
        await jobs.wait(job.id, WAIT_S)

        assert live == b"one\n"
        assert await jobs.read_output(job.id, 1, 4, 100) == b"two\n"


async def test_a_wait_that_is_too_short_gives_the_job_as_it_is(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("sleep 60"), REQUEST)

        seen = await jobs.wait(job.id, 0.05)

        assert not seen.state.is_end
        assert jobs._waiters == 0
        with pytest.raises(BridgeError, match="No such job"):
            await jobs.wait("0" * 32, 0.05)


async def test_an_end_is_seen_after_the_listener_has_heard_of_it(tmp_path: Path) -> None:
    heard = asyncio.Event()
    let_go = asyncio.Event()

    async def listen(job: Job) -> dict[str, object]:
        heard.set()
        await let_go.wait()
        return {"report": f"code {job.exit_code}"}

    async with run_jobs(tmp_path) as jobs:
        jobs.on_end(listen)
        job = await jobs.submit(shell("exit 4", key="k", facts={"given": 1}), REQUEST)
        await heard.wait()
        before = await jobs.find("commands", "sh", "k")
        let_go.set()
        ended = await jobs.wait(job.id, WAIT_S)

        assert before is not None
        assert before.state is JobState.WORKING
        assert dict(ended.facts) == {"given": 1, "report": "code 4"}
        assert await jobs.get(job.id) == ended


async def test_a_listener_that_fails_is_logged_and_the_job_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def fail(_: Job) -> None:
        raise RuntimeError("broken")

    async def return_no_json(_: Job) -> dict[str, object]:
        return {"report": object()}

    async with run_jobs(tmp_path) as jobs:
        jobs.on_end(fail)
        jobs.on_end(return_no_json)

        job = await finish(jobs, shell("true"))

        assert job.state is JobState.FINISHED
        assert dict(job.facts) == {}
        assert caplog.text.count("a listener to the end of jobs failed") == 2


async def test_jobs_are_listed_for_their_owner_in_pages(tmp_path: Path) -> None:
    other = Owner(b"b" * 32)
    async with run_jobs(tmp_path) as jobs:
        mine = [(await finish(jobs, shell("true"))).id for _ in range(5)]
        same_principal = await finish(jobs, shell("true", owner=Owner(b"c" * 32, "ann")))
        theirs = await finish(jobs, shell("true", owner=other))

        first = await jobs.list("commands", "sh", OWNER, limit=4)
        rest = await jobs.list("commands", "sh", OWNER, after=first.after)

        assert [job.id for job in first.jobs + rest.jobs] == [*mine, same_principal.id]
        assert [job.id for job in (await jobs.list("commands", "sh", other)).jobs] == [theirs.id]


async def test_many_waiters_leave_nothing_behind(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("sleep 0.3"), REQUEST)

        ended = await asyncio.gather(*(jobs.wait(job.id, WAIT_S) for _ in range(1000)))

        assert {job.state for job in ended} == {JobState.FINISHED}
        assert jobs._waiters == 0


async def test_a_client_that_leaves_while_its_job_is_accepted_leaves_a_job_that_ends(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            submitting = asyncio.ensure_future(jobs.submit(shell("true", key="k"), REQUEST))
            await until(lambda: jobs._submitting)

            submitting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await submitting
            other.execute("ROLLBACK")
        await until(lambda: not jobs._submitting)
        job = await jobs.find("commands", "sh", "k")

        assert job is not None
        assert (await jobs.wait(job.id, WAIT_S)).state is JobState.FINISHED


async def test_a_thousand_readers_at_once_each_get_their_own_job(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        ended = await asyncio.gather(*(finish(jobs, shell(f"echo {number}")) for number in range(50)))

        found = await asyncio.gather(*(jobs.get(ended[number % 50].id) for number in range(1000)))
        outputs = await asyncio.gather(*(read_all(jobs, ended[number % 50]) for number in range(1000)))

        assert found == [ended[number % 50] for number in range(1000)]
        assert outputs == [f"{number % 50}\n".encode() for number in range(1000)]
