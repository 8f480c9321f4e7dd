"""Tells a client's URL that its job has ended.

Laws: the result can be fetched before its URL hears of it; a delivery is signed, and tried again until it is taken,
refused for good or given up; deliveries are bounded in number, and forgotten with the daemon.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from ws_subprocess.auth.outgoing import Outgoing, UndeliveredError
from ws_subprocess.errors import BridgeError
from ws_subprocess.service.job import Job
from ws_subprocess.service.jobs import Jobs
from ws_subprocess.service.reports import build_report

CALLBACK_URL = "callback_url"
"""The fact that holds where to call back."""
REPORT_MAX_BYTES = 64 * 1024
PAUSES_S = (1.0, 5.0, 30.0, 120.0, 600.0)
PENDING_MAX_BYTES = 64 * 1024 * 1024
_PENDING_MAX = 10_000
_AT_A_TIME = 32
_VISIBLE_WITHIN_S = 60.0

log = logging.getLogger(__name__)


class Callbacks:
    """Delivers the ends of jobs that asked for it.

    Args:
        pauses_s: Between attempts; there is one more than these.
        clock: Unix time.
        most_bytes: Of what is to be delivered; beyond it nothing more is taken on.
    """

    def __init__(
        self,
        outgoing: Outgoing,
        jobs: Jobs,
        pauses_s: tuple[float, ...] = PAUSES_S,
        clock: Callable[[], float] = time.time,
        most_bytes: int = PENDING_MAX_BYTES,
    ) -> None:
        self._outgoing = outgoing
        self._jobs = jobs
        self._pauses_s = pauses_s
        self._clock = clock
        self._most_bytes = most_bytes
        self._tasks: set[asyncio.Task[None]] = set()
        self._pending_bytes = 0
        self._places = asyncio.Semaphore(_AT_A_TIME)
        self._is_closed = False
        jobs.on_end(self._note_end)

    async def check(self, url: str) -> None:
        """Pass a URL that may be called back.

        Raises:
            RequestError: `callback_denied`.
        """
        await self._outgoing.check(url)

    async def close(self) -> None:
        """Give up what is not delivered yet, and what is to come."""
        self._is_closed = True
        if self._tasks:
            log.warning("callbacks given up: the daemon ends", extra={"callbacks": len(self._tasks)})
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._outgoing.close()

    async def _note_end(self, job: Job) -> Mapping[str, Any] | None:
        url = job.facts.get(CALLBACK_URL)
        if not isinstance(url, str):
            return None
        is_full = len(self._tasks) >= _PENDING_MAX or self._pending_bytes >= self._most_bytes
        if self._is_closed or is_full:
            reason = "the daemon ends" if self._is_closed else "too many are to be delivered"
            log.warning("callback given up", extra={"job": job.id, "reason": reason})
            return None
        # Now, because it may be read once only.
        report = await build_report(job, lambda *span: self._jobs.read_output(job.id, *span), REPORT_MAX_BYTES)
        message = {
            "type": "job.ended",
            "data": {"name": job.name, "callback_context": job.facts.get("callback_context", {}), **report},
        }
        body = json.dumps(message).encode("ascii")
        self._begin(self._deliver(job, url, body), len(body))
        return None

    def _begin(self, work: Coroutine[Any, Any, None], size_bytes: int) -> None:
        def end(task: asyncio.Task[None]) -> None:
            self._tasks.discard(task)
            self._pending_bytes -= size_bytes

        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        self._pending_bytes += size_bytes
        task.add_done_callback(end)

    async def _deliver(self, job: Job, url: str, body: bytes) -> None:
        await self._wait_until_visible(job)
        for pause_s in (*self._pauses_s, None):
            try:
                async with self._places:
                    await self._outgoing.post(url, body, job.id, int(self._clock()))
            except UndeliveredError as exc:
                # The URL may hold a secret of its receiver's.
                facts = {"job": job.id, "reason": str(exc)}
                if exc.is_final or pause_s is None:
                    log.warning("callback given up", extra=facts)
                    return
                log.info("callback not taken", extra=facts)
                await asyncio.sleep(pause_s)
            else:
                log.info("callback delivered", extra={"job": job.id})
                return

    async def _wait_until_visible(self, job: Job) -> None:
        try:
            await self._jobs.wait(job.id, _VISIBLE_WITHIN_S)
        except BridgeError as exc:
            # It was read, or the daemon is ending; the end is to be told all the same.
            log.debug("job cannot be waited for", extra={"job": job.id, "reason": exc.code})
