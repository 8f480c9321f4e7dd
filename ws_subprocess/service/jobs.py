"""Jobs: granted commands that are queued, run as sessions, kept, waited for, stopped and forgotten. For all HTTP doors.

Laws: a job that `submit` returned is on the disk; it begins at most once, whatever kills the daemon, because that it
begins is written down before it does; a refused one never runs; its end is seen after all listeners have heard of it
and it was written down, never before; every wait has a deadline or a bound.
"""

import asyncio
import logging
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ws_subprocess.errors import BridgeError, CapacityError, RequestError
from ws_subprocess.model import LaunchRequest
from ws_subprocess.service.audit import note_submitted
from ws_subprocess.service.job import Job, JobExistsError, JobId, JobLimits, JobPage, JobSpec, Owner
from ws_subprocess.service.job_queue import JobQueue, Listener
from ws_subprocess.service.job_run import LiveJob
from ws_subprocess.service.launch import Launcher
from ws_subprocess.service.records import Row, make_beginning, make_job, make_row, read_job, weigh
from ws_subprocess.service.recovery import end_processes, find_left
from ws_subprocess.service.retention import Retainer
from ws_subprocess.service.store_faults import reporting
from ws_subprocess.store.errors import StoreError, TakenError
from ws_subprocess.store.spool import Spool
from ws_subprocess.telemetry import Metrics

if TYPE_CHECKING:
    # Who only runs terminals should not wait for SQLAlchemy.
    from ws_subprocess.store.jobs import JobStore

WAIT_MAX_S = 3600.0
_WAITERS_MAX = 10_000
_RETAIN_S = 5.0
_INSERTS_MAX = 5
# A page of a list, and how many rows of it are read at once.
_PAGE_BYTES = 4 * 1024 * 1024
_PAGE_PART = 20
_RETRY_AFTER_S = 5

log = logging.getLogger(__name__)


class Jobs:
    """All jobs of one daemon. `start` is called by the first that needs them, unless the application did.

    Every method raises BridgeError `store_unavailable` (503) when the database cannot be used.
    """

    def __init__(
        self, launcher: Launcher, store: "JobStore", spool: Spool, limits: JobLimits, metrics: Metrics
    ) -> None:
        self._launcher = launcher
        self._store = store
        self._spool = spool
        self._limits = limits
        self._queue = JobQueue(launcher, store, spool, limits.running, metrics)
        self._retainer = Retainer(store, spool, limits.kept)
        self._retain_timer: asyncio.TimerHandle | None = None
        self._retain_due = 0.0
        self._is_retaining = False
        self._started: asyncio.Future[None] | None = None
        self._submitting = 0
        self._submitting_bytes = 0
        self._accepting: dict[Path, asyncio.Task[Job]] = {}
        self._waiters = 0
        metrics.count_jobs = lambda: (self._queue.lanes.running, len(self._queue.lanes))

    # Before anything begins.

    def on_end(self, listener: Listener) -> None:
        """Have every job's end heard by `listener`, before it can be seen by `find`, `get` or `wait`.

        It gets the job as it will be, and may return facts that replace those of the same name. One that fails is
        logged, and one that takes longer than a minute too; the job ends all the same.
        """
        self._queue.listeners.append(listener)

    def limit_lane(self, lane: str, most: int) -> None:
        """Let at most so many jobs of a lane run at a time. Before `start`, for those that a restart begins again."""
        self._queue.lanes.limit(lane, most)

    async def start(self) -> None:
        """Take up what the last daemon left, once; before anything else begins."""
        started = self._started
        if started is None or (started.done() and (started.cancelled() or started.exception() is not None)):
            started = self._started = asyncio.ensure_future(self._take_up())
        if not started.done():
            await asyncio.shield(started)
        started.result()

    # What doors do with jobs.

    async def submit(self, spec: JobSpec, request: LaunchRequest) -> Job:
        """Accept a job: it is on the disk when this returns, and will run.

        Its command runs on pipes, whatever the grant says of a terminal.

        Args:
            request: Who asked, for the audit and for the shares of sessions.

        Raises:
            JobExistsError: Another that is not forgotten has its door, name and key. Nothing runs.
            CapacityError: Too many wait (`queue_full`, 503), or the daemon is draining.
            BridgeError: `no_space` (507).
        """
        await self._open()
        self.check_room()
        if spec.grant.tty:
            spec = replace(spec, grant=replace(spec.grant, tty=False))
        job = make_job(JobId(secrets.token_hex(16)), spec, time.time())
        row = make_row(job, spec, request)
        live = LiveJob(job, spec, request, weigh(row) + len(spec.stdin or b""))
        if self._queue.held_bytes + self._submitting_bytes + live.size_bytes > self._limits.held_bytes:
            raise CapacityError("queue_full", f"{self._limits.held_bytes} bytes of jobs wait", _RETRY_AFTER_S)
        accepting = self._queue.run_task(self._accept(live, row))
        if (folder := spec.folder) is not None:
            self._accepting[folder] = accepting
            accepting.add_done_callback(lambda _: self._accepting.pop(folder))
        # Whoever asked may leave meanwhile: the job is taken in all the same, or not at all.
        return await asyncio.shield(accepting)

    def check_room(self) -> None:
        """Raise BridgeError when no job would be taken in just now: before a token is used up for it."""
        self._launcher.check_open()
        if len(self._queue.lanes) + self._submitting >= self._limits.waiting:
            raise CapacityError("queue_full", f"max_jobs_waiting: {self._limits.waiting}", _RETRY_AFTER_S)
        self.check_space()

    def check_space(self) -> None:
        """Raise BridgeError `no_space` when nothing more may be kept: before an upload is taken in."""
        if not self._spool.has_room():
            self._retain_later(0.0)
            raise BridgeError("no_space", f"spool_bytes: {self._spool.most_bytes}, or the disk is full", _RETRY_AFTER_S)

    async def make_folder(self) -> Path:
        """Return a new empty folder for the uploads of a job to be submitted (`JobSpec.folder`)."""
        await self._open()
        with reporting():
            return await self._spool.make_folder()

    async def drop_folder(self, folder: Path) -> None:
        """Remove a folder of uploads, unless a job has it: then it is removed with the job's end."""
        if (accepting := self._accepting.get(folder)) is not None:
            # Its client left in the middle.
            await asyncio.wait({accepting})
        if not self._queue.owns(folder):
            await self._spool.remove_folder(folder)

    async def find(self, door: str, name: str, key: str) -> Job | None:
        """Return the job with this key, None when there is none or it was forgotten."""
        await self._open()
        if (live := self._queue.find(door, name, key)) is not None:
            return live.job
        with reporting():
            row = await self._store.find(door, name, key)
        return None if row is None else self._see(read_job(row))

    async def get(self, job_id: str) -> Job | None:
        """Return a job as it is now."""
        await self._open()
        if (live := self._queue.get(job_id)) is not None:
            return live.job
        with reporting():
            row = await self._store.get(job_id)
        return None if row is None else self._see(read_job(row))

    async def list(self, door: str, name: str, owner: Owner, after: str = "", limit: int = 100) -> JobPage:
        """Return jobs of `owner` (same token, or same principal) in the order they came.

        Args:
            after: What the page before calls `after`, "" for the first page.
            limit: Jobs at most; there are fewer where theirs are many bytes.
        """
        await self._open()
        found: list[Job] = []
        size = 0
        while len(found) < limit and size < _PAGE_BYTES:
            count = min(_PAGE_PART, limit - len(found))
            with reporting():
                rows = await self._store.list(door, name, owner.token_hash, owner.principal, after, count)
            found += [self._see(read_job(row)) for row in rows]
            size += sum(map(weigh, rows))
            if len(rows) < count:
                return JobPage(found, "")
            after = found[-1].id
        return JobPage(found, after)

    async def wait(self, job_id: str, timeout_s: float) -> Job:
        """Return the job when it has ended, or as it is after `timeout_s`.

        Raises:
            RequestError: `job_unknown`.
            CapacityError: Too many wait for jobs (`queue_full`), or the daemon is `draining`.
        """
        return await self._watch_id(job_id, lambda job: job.state.is_end, timeout_s)

    async def changes(self, seen: Job, timeout_s: float) -> Job:
        """Return the job as soon as it differs from what was `seen`: more output, another state; or after `timeout_s`.

        Raises:
            BridgeError: As `wait`.
        """
        return await self._watch_id(seen.id, lambda job: job != seen, timeout_s)

    async def read_output(self, job_id: str, stream: int, offset: int, limit: int) -> bytes:
        """Return kept output of STDOUT or STDERR from `offset` on, at most `limit` bytes; b"" at its end for now."""
        await self._open()
        with reporting():
            return await self._spool.read(job_id, stream, offset, limit)

    async def write_input(self, job_id: str, data: bytes) -> bool:
        """Give input to a working job that `takes_input`, once there is room for it; False when it takes none (now).

        Waits for as long as the command reads nothing: the caller sets the deadline.
        """
        live = self._queue.get(job_id)
        while live is not None and live.attachment is not None and live.attachment.is_input_full:
            if live.session is None or not live.session.is_running:
                return False
            await live.wait_for_change()
        if live is None or not live.spec.takes_input or live.attachment is None or live.session is None:
            return False
        if not live.session.is_running:
            return False
        live.attachment.write(data)
        return True

    async def end_input(self, job_id: str) -> bool:
        """Send a working job the end of its input; False when it is not working."""
        live = self._queue.get(job_id)
        if live is None or live.session is None or not live.session.is_running:
            return False
        live.session.end_input()
        return True

    async def stop(self, job_id: str) -> bool:
        """Begin to end a job: its whole tree, or see that it never begins. False when it has ended, or is unknown."""
        await self._open()
        live = self._queue.get(job_id)
        if live is None:
            return False
        self._queue.stop(live)
        return True

    async def forget(self, job_id: str) -> bool:
        """Remove a job, its output and its hold on its key, stopping it first; False when there is none.

        Returns when nothing of its tree is left.
        """
        await self._open()
        if (live := self._queue.get(job_id)) is not None:
            self._queue.stop(live)
            await self._watch(live, lambda job: job.state.is_end, WAIT_MAX_S)
        return await asyncio.shield(self._queue.run_task(self._remove(job_id)))

    def begin_close(self) -> None:
        """Let go who waits for jobs (`draining`): sessions have ended, and nothing begins any more."""
        self._queue.begin_close()

    async def close(self) -> None:
        """End in order, after the sessions have; jobs that wait stay for the next start."""
        if self._started is not None:
            with suppress(StoreError, OSError):
                await self._started
        if self._retain_timer is not None:
            self._retain_timer.cancel()
        await self._queue.close()
        await self._store.close()
        await self._spool.close()

    # Acceptance.

    async def _open(self) -> None:
        with reporting():
            await self.start()

    async def _accept(self, live: LiveJob, row: Row) -> Job:
        folder = live.spec.folder
        has_turn = self._queue.take_turn(live)
        if has_turn:
            # Written down in one go that it was accepted and begins.
            row = {**row, **make_beginning(live.session_id, time.time())}
        self._submitting += 1
        self._submitting_bytes += live.size_bytes
        try:
            with reporting():
                if folder is not None:
                    await self._spool.adopt_folder(folder)
                await self._insert(live.job, row)
        except BaseException:
            if folder is not None:
                self._spool.disown(folder)
            if has_turn:
                self._queue.give_turn_back(live)
            raise
        finally:
            self._submitting -= 1
            self._submitting_bytes -= live.size_bytes
        # No other await may part the two: a job that is in the database and not in the queue would be nobody's.
        note_submitted(live.job.id, live.spec.grant, live.request)
        self._queue.add(live, has_turn)
        return live.job

    async def _insert(self, job: Job, row: Row) -> None:
        for _ in range(_INSERTS_MAX):
            try:
                return await self._store.insert(row)
            except TakenError:
                # Unless it was forgotten just now.
                if (other := await self.find(job.door, job.name, job.key)) is not None:
                    error = JobExistsError("job_exists", f"key {job.key!a}")
                    error.job = other
                    raise error from None
        raise StoreError(f"key {job.key!a}: taken and forgotten again, {_INSERTS_MAX} times")

    async def _remove(self, job_id: str) -> bool:
        with reporting():
            is_gone = await self._store.delete([job_id]) > 0
        if is_gone:
            self._spool.remove_soon(job_id)
        return is_gone

    def _see(self, stored: Job) -> Job:
        """Return what may be seen of a job that was read from the database."""
        live = self._queue.get(stored.id)
        return stored if live is None else live.job

    async def _watch_id(self, job_id: str, is_seen: Callable[[Job], bool], timeout_s: float) -> Job:
        job = await self.get(job_id)
        if job is None:
            raise RequestError("job_unknown")
        live = self._queue.get(job_id)
        return job if live is None else await self._watch(live, is_seen, timeout_s)

    async def _watch(self, live: LiveJob, is_seen: Callable[[Job], bool], timeout_s: float) -> Job:
        if self._waiters >= _WAITERS_MAX:
            raise CapacityError("queue_full", f"{_WAITERS_MAX} requests wait for jobs", _RETRY_AFTER_S)
        self._waiters += 1
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(min(timeout_s, WAIT_MAX_S)):
                    while not (is_seen(live.job) or live.job.state.is_end):
                        # One that works has just ended, and is being written down.
                        if self._queue.is_closing and live.session is None:
                            raise CapacityError("draining", "", _RETRY_AFTER_S)
                        await live.wait_for_change()
        finally:
            self._waiters -= 1
        return live.job

    # After the last daemon, and now and then.

    async def _take_up(self) -> None:
        rows = await self._store.list_live()
        await end_processes({row["session"] for row in rows if row["session"]})
        left = await find_left(rows, self._spool, self._launcher.check_grant)
        folders = {live.spec.folder for live, _ in left if live.spec.folder is not None}
        await self._spool.tidy(await self._store.list_ids(), folders)
        if left:
            log.info("jobs taken up", extra={"jobs": len(left), "lost": sum(bool(why) for _, why in left)})
        self._retain_later(_RETAIN_S)
        for live, why in left:
            if why:
                self._queue.add_lost(live, why)
            else:
                self._queue.add(live)

    def _retain_later(self, delay_s: float) -> None:
        """Look for surplus results then; once, and not later than was said before."""
        loop = asyncio.get_running_loop()
        if self._queue.is_closing or self._is_retaining:
            return
        due = loop.time() + delay_s
        if self._retain_timer is not None:
            # A handle does not always know: uvloop has no timer where there is no delay.
            if self._retain_due <= due:
                return
            self._retain_timer.cancel()
        self._retain_due = due
        self._retain_timer = loop.call_later(delay_s, lambda: self._queue.run_task(self._retain()))

    async def _retain(self) -> None:
        self._retain_timer = None
        self._is_retaining = True
        try:
            await self._retainer.forget_surplus(time.time())
        except StoreError as exc:
            log.warning("results cannot be removed", extra={"reason": str(exc)})
        finally:
            self._is_retaining = False
        self._retain_later(_RETAIN_S)
