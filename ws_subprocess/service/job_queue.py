"""Jobs that have not ended: they wait for their turn, run as sessions, and end, in this order and once each.

Laws: that a job begins is written down before it does; its end is heard by all listeners, then written down, and only
then seen; what it holds, its turn and its uploads, is given back whatever happens.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from ws_subprocess.errors import BridgeError
from ws_subprocess.service.foreign import is_for_us
from ws_subprocess.service.job import Job, JobState
from ws_subprocess.service.job_run import LiveJob, Outcome, attend, end_job
from ws_subprocess.service.lanes import Lanes
from ws_subprocess.service.launch import Launcher
from ws_subprocess.service.records import make_beginning, make_changes
from ws_subprocess.store.errors import StoreError
from ws_subprocess.store.spool import Spool
from ws_subprocess.telemetry import Metrics, request_id

if TYPE_CHECKING:
    # Who only runs terminals should not wait for SQLAlchemy.
    from ws_subprocess.store.jobs import JobStore

# How long a principal's jobs rest after one of them met no room, and an end whose row cannot be written.
_REST_S = 0.25
_SAVE_AGAIN_S = 1.0
_LISTENER_S = 60.0
# For jobs to write down how they ended, once their sessions have.
_CLOSE_S = 10.0

T = TypeVar("T")
log = logging.getLogger(__name__)

Listener = Callable[[Job], Awaitable[Mapping[str, Any] | None]]


class JobQueue:
    """The live jobs of one daemon.

    Args:
        most: Jobs that run at a time.

    Attributes:
        lanes: Who waits and who runs.
        held_bytes: What the live jobs take in memory, in about.
        listeners: Asked, in this order, before an end is seen; see `Jobs.on_end`.
    """

    def __init__(self, launcher: Launcher, store: "JobStore", spool: Spool, most: int, metrics: Metrics) -> None:
        self.lanes = Lanes(most)
        self.listeners: list[Listener] = []
        self._launcher = launcher
        self._store = store
        self._spool = spool
        self._metrics = metrics
        self._live: dict[str, LiveJob] = {}
        self._by_key: dict[tuple[str, str, str], LiveJob] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._rest: asyncio.TimerHandle | None = None
        self.is_closing = False
        self.held_bytes = 0

    def get(self, job_id: str) -> LiveJob | None:
        """Return a job that has not ended."""
        return self._live.get(job_id)

    def find(self, door: str, name: str, key: str) -> LiveJob | None:
        """Return the job that has not ended and has this key."""
        return self._by_key.get((door, name, key))

    def owns(self, folder: Path) -> bool:
        """Tell whether a job will remove this folder when it ends."""
        return any(live.spec.folder == folder for live in self._live.values())

    def take_turn(self, live: LiveJob) -> bool:
        """Take a turn for a job that is about to be added, if it need not wait for one."""
        return self._may_begin() and self.lanes.take_at_once(live.job.id, live.place)

    def give_turn_back(self, live: LiveJob) -> None:
        """Let others have the turn of a job that will not be added."""
        self.lanes.end(live.job.id)
        self.begin_next()

    def add(self, live: LiveJob, has_turn: bool = False) -> None:
        """Let a job wait for its turn, which may be at once.

        Args:
            has_turn: It took its turn, and is written down as working.
        """
        self._hold(live)
        if has_turn:
            live.is_noted = True
            self.run_task(self._perform(live, has_turn))
        else:
            self.lanes.push(live.job.id, live.place)
            self.begin_next()

    def add_lost(self, live: LiveJob, why: str) -> None:
        """End a job of a daemon that is no more."""
        self._hold(live)
        self.run_task(self._settle(live, Outcome(JobState.LOST, why)))

    def stop(self, live: LiveJob) -> None:
        """Begin to end a job, or see that it never begins."""
        live.stop()
        if self.lanes.remove(live.job.id):
            self.run_task(self._settle(live, Outcome(JobState.KILLED, "stopped before it began")))

    def begin_next(self) -> None:
        """Begin as many jobs as may run."""
        while self._may_begin():
            job_id = self.lanes.take()
            if job_id is None:
                return
            self.run_task(self._perform(self._live[job_id]))

    def run_task(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let a task live until `close`, which waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def begin_close(self) -> None:
        """Begin nothing more, and let go who waits for jobs."""
        self.is_closing = True
        if self._rest is not None:
            self._rest.cancel()
        for live in self._live.values():
            live.wake()

    async def close(self) -> None:
        """Begin nothing more, and wait until those whose sessions have ended are written down."""
        self.begin_close()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=_CLOSE_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)

    def _may_begin(self) -> bool:
        return not self.is_closing and not self._launcher.is_draining

    def _hold(self, live: LiveJob) -> None:
        self._live[live.job.id] = live
        self._by_key[live.key] = live
        self.held_bytes += live.size_bytes

    async def _perform(self, live: LiveJob, has_begun: bool = False) -> None:
        """Run a job whose turn it is, to its end; `has_begun`: it is written down that it begins."""
        # This task may have been begun by the end of another job.
        request_id.set(live.cause)
        try:
            outcome = await self._run(live, has_begun)
        except Exception:
            log.exception("job failed", extra={"job": live.job.id})
            outcome = Outcome(JobState.FAILED, "internal error")
        if outcome is None and not live.is_stopped:
            self.lanes.put_back(live.job.id, live.place)
            self._rest_a_while(live.place.principal)
            self.begin_next()
            return
        try:
            await self._settle(live, outcome or Outcome(JobState.KILLED, "stopped before it began"))
        finally:
            self.lanes.end(live.job.id)
            self.begin_next()

    async def _run(self, live: LiveJob, has_begun: bool) -> Outcome | None:
        """Return how it ended; None when it has not begun, and may later."""
        prepare = partial(self._note_begin, live, has_begun)
        try:
            async with self._launcher.run(live.spec.grant, live.request, prepare, live.session_id) as session:
                live.change(replace(live.job, state=JobState.WORKING, session=session.id, started_at=time.time()))
                return await attend(live, session, self._spool)
        except _StoppedError:
            return None
        except StoreError as exc:
            log.warning("job cannot begin", extra={"job": live.job.id, "reason": str(exc)})
            return None
        except BridgeError as exc:
            # No room of some kind: that passes.
            if exc.fault.status in (429, 503):
                await self._note_wait(live)
                return None
            return Outcome(JobState.FAILED, exc.detail or exc.fault.title)

    async def _note_begin(self, live: LiveJob, has_begun: bool) -> None:
        """Write down that it begins before it does, unless that was done when it was accepted."""
        if not live.is_stopped and not has_begun:
            live.is_noted = True
            await self._store.update(live.job.id, make_beginning(live.session_id, time.time()))
        if live.is_stopped:
            raise _StoppedError

    async def _note_wait(self, live: LiveJob) -> None:
        """Write down that it did not begin after all; else the next daemon would take it for lost."""
        if not live.is_noted:
            return
        try:
            await self._store.update(live.job.id, make_changes(live.job))
            live.is_noted = False
        except StoreError as exc:
            log.warning("job cannot be put back", extra={"job": live.job.id, "reason": str(exc)})

    def _rest_a_while(self, principal: str) -> None:
        self.lanes.rest(principal)
        if self._rest is None and not self.is_closing:
            self._rest = asyncio.get_running_loop().call_later(_REST_S, self._end_rest)

    def _end_rest(self) -> None:
        self._rest = None
        self.lanes.wake()
        self.begin_next()

    async def _settle(self, live: LiveJob, outcome: Outcome) -> None:
        """Give back what it held, let the listeners hear of its end, write it down, and only then let it be seen."""
        ended = end_job(live, outcome, time.time())
        if live.spec.folder is not None:
            await self._spool.remove_folder(live.spec.folder)
        job = await self._tell_listeners(ended)
        if not await self._save_end(job, live.spec.ttl_s):
            return
        self._metrics.jobs_ended.labels(str(job.state)).inc()
        del self._live[job.id]
        del self._by_key[live.key]
        self.held_bytes -= live.size_bytes
        live.change(job)

    async def _tell_listeners(self, job: Job) -> Job:
        for listener in self.listeners:
            try:
                async with asyncio.timeout(_LISTENER_S):
                    facts = await listener(job)
                # What is no JSON could not be written down, and the job not end.
                json.dumps(dict(facts or {}))
            except BaseException as exc:
                if is_for_us(exc):
                    raise
                log.exception("a listener to the end of jobs failed", extra={"job": job.id})
                continue
            if facts:
                job = replace(job, facts=MappingProxyType({**job.facts, **facts}))
        return job

    async def _save_end(self, job: Job, ttl_s: float) -> bool:
        """Write an end down, however long the disk is full; False when the daemon ends before."""
        assert job.ended_at is not None
        row = {**make_changes(job), "expires_at": job.ended_at + ttl_s}
        while True:
            try:
                await self._store.update(job.id, row)
            except StoreError as exc:
                log.warning("the end of a job cannot be written down", extra={"job": job.id, "reason": str(exc)})
                if self.is_closing:
                    return False
                await asyncio.sleep(_SAVE_AGAIN_S)
            else:
                return True


class _StoppedError(Exception):
    """Somebody stopped the job in the moment it began."""
