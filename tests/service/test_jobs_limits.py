"""What jobs may not exceed: places, the queue, output, the disk; and what is kept of them."""

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from disks import fill, small_disk
from observing import until
from working import OWNER, REQUEST, WAIT_S, build_app, finish, read_all, run_jobs, shell

from ws_subprocess.errors import BridgeError
from ws_subprocess.service.job import Job, JobLimits, JobState, Owner
from ws_subprocess.service.jobs import Jobs

KIB = 1024
MIB = 1024 * KIB


async def count_at_once(jobs: Jobs, folder: Path, count: int, **spec: object) -> int:
    """Run so many jobs, and return how many of them ran at a time at most."""
    os.mkdir(folder)
    script = f"mkdir {folder}/$$; ls {folder} | wc -l; sleep 0.05; rmdir {folder}/$$"
    ended = await asyncio.gather(*(finish(jobs, shell(script, **spec)) for _ in range(count)))
    assert {job.state for job in ended} == {JobState.FINISHED}
    return max([int(await read_all(jobs, job)) for job in ended])


async def test_no_more_jobs_run_at_a_time_than_may(tmp_path: Path) -> None:
    async with run_jobs(tmp_path / "state", max_jobs_running=3) as jobs:
        assert await count_at_once(jobs, tmp_path / "running", 12) == 3


async def test_what_need_not_wait_is_written_down_as_begun_with_its_acceptance(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_running=1) as jobs:
        for _ in range(2):
            await jobs.submit(shell("sleep 60"), REQUEST)
        with closing(sqlite3.connect(tmp_path / "jobs.sqlite3")) as database:
            rows = database.execute("SELECT state, session != '' FROM jobs ORDER BY number").fetchall()

    assert rows == [("working", True), ("pending", False)]


async def test_a_lane_has_a_limit_of_its_own(tmp_path: Path) -> None:
    async with run_jobs(tmp_path / "state") as jobs:
        jobs.limit_lane("narrow", 2)

        assert await count_at_once(jobs, tmp_path / "running", 8, lane="narrow") == 2


async def test_a_job_waits_while_all_sessions_are_taken(tmp_path: Path) -> None:
    async with run_jobs(tmp_path / "state", max_sessions=2) as jobs:
        assert await count_at_once(jobs, tmp_path / "running", 6) == 2


async def test_jobs_that_met_no_room_begin_in_the_order_they_came_and_write_nothing_meanwhile(tmp_path: Path) -> None:
    async with run_jobs(tmp_path / "state", max_sessions=1) as jobs:
        first = await jobs.submit(shell("read -r line", takes_input=True), REQUEST)
        later = [await jobs.submit(shell(f"echo {n} >> {tmp_path}/order"), REQUEST) for n in range(6)]
        await until(lambda: (live := jobs._queue.get(first.id)) is not None and live.session is not None)
        wal = tmp_path / "state" / "jobs.sqlite3-wal"
        size, rests = wal.stat().st_size, list[asyncio.TimerHandle]()

        def have_rested_again() -> bool:
            if (rest := jobs._queue._rest) is not None and rest not in rests:
                rests.append(rest)
            return len(rests) == 3

        await until(have_rested_again)
        assert wal.stat().st_size == size

        await jobs.end_input(first.id)
        for job in later:
            await jobs.wait(job.id, WAIT_S)

        assert (tmp_path / "order").read_text().split() == list("012345")


async def test_a_principal_at_its_limit_does_not_keep_others_waiting(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_running=2, max_sessions_per_principal=1) as jobs:
        for _ in range(10):
            await jobs.submit(shell("sleep 60", priority=5), REQUEST)
        other = shell("true", owner=Owner(b"b" * 32, "bob"), priority=-5)
        other = replace(other, grant=replace(other.grant, principal="bob"))

        assert (await finish(jobs, other)).state is JobState.FINISHED


async def test_too_many_waiting_jobs_are_refused(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_running=1, max_jobs_waiting=2) as jobs:
        accepted = [await jobs.submit(shell("sleep 60"), REQUEST) for _ in range(3)]

        with pytest.raises(BridgeError) as refusal:
            await jobs.submit(shell("true"), REQUEST)

        assert (refusal.value.code, refusal.value.fault.status) == ("queue_full", 503)
        assert await jobs.stop(accepted[1].id)
        await jobs.submit(shell("true"), REQUEST)


async def test_waiting_jobs_take_only_so_much_memory(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_running=1) as jobs:
        jobs._limits = JobLimits(held_bytes=3 * MIB)
        running = await jobs.submit(shell("cat > /dev/null; read -r line", takes_input=True), REQUEST)
        first = await jobs.submit(shell("cat", stdin=b"x" * MIB), REQUEST)
        await jobs.submit(shell("cat", facts={"context": "x" * MIB}), REQUEST)

        with pytest.raises(BridgeError) as refusal:
            await jobs.submit(shell("cat", stdin=b"x" * MIB), REQUEST)

        assert refusal.value.code == "queue_full"
        await jobs.forget(first.id)
        await jobs.submit(shell("cat", stdin=b"x" * MIB), REQUEST)
        await jobs.stop(running.id)
        await until(lambda: jobs._queue.held_bytes == 0)


async def test_a_page_of_many_bytes_has_fewer_jobs_and_the_rest_follows(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        facts = {"context": "x" * 100_000}
        ids = [(await jobs.submit(shell("true", facts=facts), REQUEST)).id for _ in range(80)]

        first = await jobs.list("commands", "sh", OWNER, limit=1000)
        rest = await jobs.list("commands", "sh", OWNER, first.after, limit=1000)

        assert 0 < len(first.jobs) < 80
        assert [job.id for job in first.jobs + rest.jobs] == ids
        assert rest.after == ""


async def test_output_beyond_the_limit_is_dropped_and_the_command_goes_on(tmp_path: Path) -> None:
    async with run_jobs(tmp_path / "state", max_job_output_bytes=256 * KIB) as jobs:
        job = await finish(jobs, shell(f"head -c 3000000 /dev/zero; touch {tmp_path}/went-on"))

        assert (job.state, job.exit_code, job.is_cut) == (JobState.FINISHED, 0, True)
        assert job.stdout_bytes == 256 * KIB == len(await read_all(jobs, job))
        assert (tmp_path / "went-on").exists()


def read_memory(name: str) -> int:
    """Return a figure of this process' memory in bytes: VmRSS now, VmHWM at most since it was reset."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{name}:")) * KIB


def reset_peak() -> None:
    """Begin to measure VmHWM anew (proc_pid_clear_refs(5))."""
    Path("/proc/self/clear_refs").write_text("5")


async def test_memory_does_not_grow_with_output(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        await finish(jobs, shell("head -c 2000000 /dev/zero"))
        before = read_memory("VmRSS")
        reset_peak()

        job = await finish(jobs, shell("head -c 300000000 /dev/zero"))

        assert (job.stdout_bytes, job.is_cut) == (300_000_000, False)
        assert read_memory("VmHWM") - before < 30 * MIB


async def test_the_oldest_output_goes_when_there_is_too_much(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, spool_bytes=MIB) as jobs:
        first = await finish(jobs, shell("head -c 700000 /dev/zero"))
        await finish(jobs, shell("head -c 700000 /dev/zero"))

        with pytest.raises(BridgeError) as refusal:
            await jobs.submit(shell("true"), REQUEST)
        assert (refusal.value.code, refusal.value.fault.status) == ("no_space", 507)

        await until(lambda: jobs._spool.has_room())
        assert await jobs.get(first.id) is None
        assert (await finish(jobs, shell("echo again"))).stdout_bytes == 6


async def test_results_are_forgotten_when_their_time_is_over(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        short = await finish(jobs, shell("echo short", ttl_s=0.001))
        long = await finish(jobs, shell("echo long"))
        working = await jobs.submit(shell("sleep 60", ttl_s=0.001), REQUEST)

        assert short.ended_at is not None
        await jobs._retainer.forget_surplus(short.ended_at + 10)

        assert await jobs.get(short.id) is None
        assert await read_all(jobs, short) == b""
        assert await jobs.get(long.id) == long
        assert await jobs.get(working.id) is not None


async def test_the_oldest_of_too_many_results_are_forgotten(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_kept=3) as jobs:
        ended = [await finish(jobs, shell("true")) for _ in range(5)]

        await jobs._retainer.forget_surplus(0.0)

        assert [await jobs.get(job.id) for job in ended] == [None, None, *ended[2:]]


async def test_uploads_are_removed_with_the_end_of_their_job_and_count_until_then(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        folder = await jobs.make_folder()
        (folder / "file").write_bytes(b"x" * 1000)
        job = await jobs.submit(shell(f"wc -c < {folder}/file; read -r line", folder=folder, takes_input=True), REQUEST)
        await until(lambda: jobs._spool.used_bytes == 1005)
        await jobs.drop_folder(folder)
        there = (folder / "file").exists()

        await jobs.stop(job.id)
        ended = await jobs.wait(job.id, WAIT_S)

        assert there
        assert await read_all(jobs, ended) == b"1000\n"
        assert not folder.exists()
        assert jobs._spool.used_bytes == 5


@pytest.mark.parametrize("script", ["rm file", "head -c 5000 /dev/zero > more"])
async def test_whatever_a_command_does_with_its_uploads_no_more_and_no_less_is_given_back(
    tmp_path: Path, script: str
) -> None:
    async with run_jobs(tmp_path) as jobs:
        folder = await jobs.make_folder()
        (folder / "file").write_bytes(b"x" * 1000)

        await finish(jobs, shell(f"cd {folder}; {script}", folder=folder))

        assert jobs._spool.used_bytes == 0


async def test_uploads_of_a_refused_job_are_the_callers_to_remove(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        await jobs.submit(shell("sleep 60", key="k"), REQUEST)
        folder = await jobs.make_folder()
        (folder / "file").write_bytes(b"x" * 1000)

        with pytest.raises(BridgeError, match="exists"):
            await jobs.submit(shell("true", key="k", folder=folder), REQUEST)
        await jobs.drop_folder(folder)

        assert not folder.exists()
        assert jobs._spool.used_bytes == 0


async def test_output_that_cannot_be_written_is_said_to_be_cut_and_the_job_goes_on(tmp_path: Path) -> None:
    async with run_jobs(tmp_path) as jobs:
        job = await jobs.submit(shell("read -r line; echo lost; exit 5", takes_input=True), REQUEST)
        # A file where its folder would be made: the same error for every write, root's too.
        (tmp_path / "spool" / job.id).touch()
        await until(lambda: jobs._queue.get(job.id).session is not None)  # type: ignore[union-attr]

        await jobs.write_input(job.id, b"\n")
        ended = await jobs.wait(job.id, WAIT_S)
        (tmp_path / "spool" / job.id).unlink()

        assert (ended.state, ended.exit_code, ended.is_cut, ended.stdout_bytes) == (JobState.FINISHED, 5, True, 0)
        assert ended.error.startswith("output cannot be kept: ")
        assert (await finish(jobs, shell("echo kept"))).stdout_bytes == 5


async def test_a_full_disk_refuses_jobs_and_ends_running_ones_in_order_and_recovers(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with run_jobs(disk / "state") as jobs:
            done = await finish(jobs, shell("echo done"))
            running = await jobs.submit(shell("read -r line; head -c 8000000 /dev/zero", takes_input=True), REQUEST)
            await until(lambda: jobs._queue.get(running.id).session is not None)  # type: ignore[union-attr]
            filler = fill(disk)

            with pytest.raises(BridgeError) as refusal:
                await jobs.submit(shell("true"), REQUEST)
            await jobs.write_input(running.id, b"\n")
            ended = await jobs.wait(running.id, WAIT_S)
            is_forgotten = await jobs.forget(done.id)
            os.unlink(filler)
            again = await finish(jobs, shell("echo again"))

            assert (refusal.value.code, refusal.value.fault.status) == ("no_space", 507)
            assert (ended.state, ended.exit_code, ended.is_cut) == (JobState.FINISHED, 0, True)
            assert is_forgotten
            assert await read_all(jobs, again) == b"again\n"
        with closing(sqlite3.connect(disk / "state" / "jobs.sqlite3")) as database:
            assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def test_draining_ends_running_jobs_and_leaves_waiting_ones(tmp_path: Path) -> None:
    app = build_app(tmp_path, max_jobs_running=1)
    jobs = app.jobs
    async with app.lifespan(app._asgi):  # type: ignore[arg-type]
        running = await jobs.submit(shell("sleep 60"), REQUEST)
        waiting = await jobs.submit(shell("echo later"), REQUEST)
        await until(lambda: jobs._queue.get(running.id).session is not None)  # type: ignore[union-attr]
        app.begin_drain()
        with pytest.raises(BridgeError) as refusal:
            await jobs.submit(shell("true"), REQUEST)
        await app.end_sessions()
        killed = await jobs.wait(running.id, WAIT_S)

    async with run_jobs(tmp_path) as later:
        ended = await later.wait(waiting.id, WAIT_S)

        assert refusal.value.code == "draining"
        assert (killed.state, killed.error) == (JobState.KILLED, "the daemon was stopped")
        assert await later.get(running.id) == killed
        assert (ended.state, ended.stdout_bytes) == (JobState.FINISHED, 6)


async def test_who_waits_for_a_job_is_told_when_the_daemon_ends(tmp_path: Path) -> None:
    async with run_jobs(tmp_path, max_jobs_running=1) as jobs:
        await jobs.submit(shell("sleep 60"), REQUEST)
        waiting: Job = await jobs.submit(shell("true"), REQUEST)
        waiter = asyncio.ensure_future(jobs.wait(waiting.id, WAIT_S))
        await until(lambda: jobs._waiters)

    with pytest.raises(BridgeError) as told:
        await waiter
    assert told.value.code == "draining"


async def test_jobs_are_counted_and_audited(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    app = build_app(tmp_path)
    jobs = app.jobs
    async with app.lifespan(app._asgi):  # type: ignore[arg-type]
        await finish(jobs, shell("true"))
        job = await jobs.submit(shell("echo s3cret; sleep 60", env={"TOKEN": "s3cret"}), REQUEST)
        await until(lambda: jobs._queue.get(job.id).session is not None)  # type: ignore[union-attr]
        figures = app.metrics.render()[0].decode()

    assert 'ws_subprocess_jobs_ended_total{state="finished"} 1.0' in figures
    assert "ws_subprocess_jobs_running 1.0" in figures
    assert "ws_subprocess_jobs_waiting 0.0" in figures
    accepted = [record for record in caplog.records if record.getMessage() == "job accepted"]
    assert [vars(record)["job"] for record in accepted][1] == job.id
    assert {vars(record)["decision"] for record in accepted} == {"granted"}
    assert "s3cret" not in str([vars(record) for record in caplog.records])


async def test_jobs_begin_without_a_lifespan(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    jobs = app.jobs

    job = await finish(jobs, shell("echo mounted"))

    assert await read_all(jobs, job) == b"mounted\n"
    await jobs.close()
    app._spawner.close()
    await app._gate.close()
