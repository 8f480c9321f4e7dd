"""What a daemon that died left behind: processes to end, jobs that are lost, and jobs that go on waiting."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from ws_subprocess.errors import BridgeError
from ws_subprocess.model import STDERR, STDOUT, Grant
from ws_subprocess.process.tree import find_marked, stop_and_kill
from ws_subprocess.service.job import JobState
from ws_subprocess.service.job_run import LiveJob
from ws_subprocess.service.records import is_volatile, read_job, read_spec, weigh
from ws_subprocess.store.spool import Spool

_LOOKS_MAX = 50
_LOOK_S = 0.02
LOST_WORKING = "the daemon ended while the command ran"
LOST_WAITING = "the daemon ended before the command began, and its input or environment was held in memory only"

log = logging.getLogger(__name__)


async def end_processes(sessions: Set[str]) -> None:
    """Kill every process of these sessions, whose daemon is no more: nobody will ever read what they say."""
    if not sessions:
        return
    for _ in range(_LOOKS_MAX):
        found = await asyncio.to_thread(find_marked, sessions)
        if not found:
            return
        stop_and_kill(found)
        await asyncio.sleep(_LOOK_S)
    log.warning("processes of a daemon that is no more live on", extra={"pids": [row.pid for row in found]})


async def find_left(
    rows: Sequence[Mapping[str, Any]], spool: Spool, check_grant: Callable[[Grant], None]
) -> list[tuple[LiveJob, str]]:
    """Return the jobs of these rows, each with why it is lost, "" when it can go on waiting.

    Args:
        check_grant: Raises BridgeError when the settings, which may be others now, do not allow the command.
    """
    left = []
    for row in rows:
        job = read_job(row)
        spec, request = read_spec(row)
        lost = ""
        if job.state is JobState.WORKING:
            sizes = await spool.measure(job.id)
            job = replace(job, stdout_bytes=sizes[STDOUT], stderr_bytes=sizes[STDERR])
            lost = LOST_WORKING
        elif is_volatile(row):
            lost = LOST_WAITING
        else:
            lost = _find_objection(spec.grant, check_grant)
        left.append((LiveJob(job, spec, request, weigh(row)), lost))
    return left


def _find_objection(grant: Grant, check_grant: Callable[[Grant], None]) -> str:
    try:
        check_grant(grant)
    except BridgeError as exc:
        return f"not allowed since the restart: {exc}"
    return ""
