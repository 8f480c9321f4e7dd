"""Jobs of the real program over HTTP when it is killed at any moment, and when its disk is full: none is lost."""

import asyncio
import random
import signal
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import httpx
from commands_program import TOKEN, launch_commands
from daemon_process import WAIT_S, DaemonProcess
from disks import fill, small_disk
from observing import until
from process_marks import find_marked, marking
from scale import scaled

KILLS = scaled(20)
JOBS_PER_LIFE = 25
CLIENTS = 8
# Their acceptance takes a tenth of a second, their running half of one.
LONGEST_LIFE_S = 0.5
PATH = "/commands/sh"


@dataclass
class Life:
    """One life of the program, and a client of it."""

    daemon: DaemonProcess
    client: httpx.AsyncClient

    async def post(self, script: str, idempotency_key: str = "") -> httpx.Response:
        headers = {"Idempotency-Key": idempotency_key} if idempotency_key else {}
        return await self.client.post(PATH, json={"args": [script]}, headers=headers)

    async def start(self, script: str) -> str:
        """Start a job; return its key."""
        response = await self.post(script)
        assert response.status_code == 202, response.text
        key: str = response.json()["key"]
        return key

    async def report(self, key: str) -> dict[str, object]:
        """Return the report of a job, once it has ended."""
        response = await self.client.get(PATH, params={"key": key, "wait": "true"})
        assert response.status_code == 200, response.text
        found: dict[str, object] = response.json()
        return found

    async def kill(self) -> None:
        """End it as a power cut of the process would, and see that it had not ended before."""
        assert self.daemon.process.poll() is None, self.daemon.log
        self.daemon.send(signal.SIGKILL)
        await self.daemon.ended()


@asynccontextmanager
async def living(folder: Path, state_dir: Path) -> AsyncIterator[Life]:
    """Run the daemon until the block ends, in which it may have been killed."""
    daemon = launch_commands(folder, state_dir)
    try:
        await daemon.ready()
        async with httpx.AsyncClient(
            base_url=daemon.url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=WAIT_S, trust_env=False
        ) as client:
            yield Life(daemon, client)
    finally:
        await daemon.end()


@dataclass
class Senders:
    """Clients that ask again, with the same Idempotency-Key, for what was not answered.

    Attributes:
        left: The numbers of jobs that are to be accepted yet.
        keys: The keys of all jobs that were accepted, by number.
        statuses: Of all answers.
    """

    runs: Path
    mark: str
    left: list[int]
    keys: dict[int, str] = field(default_factory=dict)
    statuses: Counter[int] = field(default_factory=Counter)

    async def send(self, life: Life) -> None:
        """Send what is left, for as long as it lives."""
        await asyncio.gather(*(self._be_a_client(life) for _ in range(CLIENTS)))

    async def _be_a_client(self, life: Life) -> None:
        while self.left:
            number = self.left.pop()
            # Each run leaves a line; and a child that would outlive everything.
            script = f"echo run >> {self.runs}/{number}; setsid sleep {self.mark} & sleep 0.02"
            try:
                response = await life.post(script, f"job-{number}")
            except httpx.TransportError:
                self.left.append(number)
                return
            self.statuses[response.status_code] += 1
            if response.status_code == 202:
                self.keys[number] = response.json()["key"]
            else:
                self.left.append(number)


async def test_killed_at_any_moment_every_accepted_job_is_found_and_none_runs_twice(tmp_path: Path) -> None:
    state_dir, runs = tmp_path / "state", tmp_path / "runs"
    runs.mkdir()
    moments = random.Random(20)
    with marking() as mark:
        senders = Senders(runs, mark, [])
        for number in range(KILLS):
            senders.left += range(number * JOBS_PER_LIFE, (number + 1) * JOBS_PER_LIFE)
            async with living(tmp_path / f"life{number}", state_dir) as life:
                sending = asyncio.create_task(senders.send(life))
                await asyncio.sleep(moments.random() * LONGEST_LIFE_S)
                await life.kill()
                await sending
        async with living(tmp_path / "last", state_dir) as life:
            await senders.send(life)
            reports = {number: await life.report(key) for number, key in senders.keys.items()}
            await until(lambda: not find_marked(mark), "the end of all processes", WAIT_S)

    states = {number: report["status"] for number, report in reports.items()}
    counts = {int(path.name): path.read_text().count("run") for path in runs.iterdir()}
    assert senders.statuses.keys() == {202}
    assert len(states) == KILLS * JOBS_PER_LIFE
    assert set(states.values()) <= {"finished", "lost"}
    assert set(counts.values()) <= {1}
    assert counts.keys() <= states.keys()
    assert {number for number, state in states.items() if state == "finished"} <= counts.keys()
    # At least those that were running when it was killed.
    assert Counter(states.values())["lost"] <= 16 * KILLS


async def test_a_full_disk_is_told_as_507_and_passes(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with living(tmp_path / "daemon", disk / "state") as life:
            before = await life.start("echo before")
            assert (await life.report(before))["report"] == "before\n"
            filler = fill(disk)

            refused = await life.post("echo during")

            assert (refused.status_code, refused.json()["code"]) == (507, "no_space")
            assert (await life.client.get("/healthz")).status_code == 200
            assert (await life.report(before))["report"] == "before\n"
            filler.unlink()
            after = await life.start("echo after")
            assert (await life.report(after))["report"] == "after\n"
        _check_database(disk / "state")


async def test_a_disk_that_fills_up_under_load_loses_no_accepted_job(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    with small_disk(tmp_path / "disk") as disk, marking() as mark:
        senders = Senders(runs, mark, list(range(JOBS_PER_LIFE)))
        async with living(tmp_path / "daemon", disk / "state") as life:
            await senders.send(life)
            # Most of these run or wait still.
            filler = await asyncio.to_thread(fill, disk)
            senders.left += range(JOBS_PER_LIFE, 2 * JOBS_PER_LIFE)
            sending = asyncio.create_task(senders.send(life))
            await until(lambda: senders.statuses[507] >= CLIENTS or sending.done(), "refusals", WAIT_S)
            filler.unlink()
            await sending
            reports = {number: await life.report(key) for number, key in senders.keys.items()}
            await until(lambda: not find_marked(mark), "the end of all processes", WAIT_S)
        _check_database(disk / "state")

    assert senders.statuses.keys() == {202, 507}
    assert len(reports) == 2 * JOBS_PER_LIFE
    assert {report["status"] for report in reports.values()} == {"finished"}
    assert {(runs / str(number)).read_text() for number in reports} == {"run\n"}


async def test_a_job_that_fills_the_disk_is_cut_and_removing_it_makes_room(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        async with living(tmp_path / "daemon", disk / "state") as life:
            big = await life.start("head -c 100000000 /dev/zero | tr '\\0' x")
            report = await life.report(big)
            refused = await life.post("echo refused")

            removed = await life.client.delete(PATH, params={"key": big})

            assert (report["status"], report["returncode"], report["truncated"]) == ("finished", 0, True)
            assert set(str(report["report"])) == {"x"}
            assert refused.status_code == 507
            assert removed.status_code == 204
            assert (await life.report(await life.start("echo room")))["report"] == "room\n"
        _check_database(disk / "state")


def _check_database(state_dir: Path) -> None:
    with closing(sqlite3.connect(state_dir / "jobs.sqlite3")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
