"""Callbacks in Python: functions that hear of a command's end as `(context, future)`, and may replace its report.

Laws: the report is seen after its callback, and as the callback left it; a callback that fails changes nothing and is
logged; one that is no coroutine runs on a thread, and no callback longer than `Jobs` waits for its listeners.
"""

import asyncio
import copy
import inspect
import json
import logging
from collections.abc import Callable, Mapping
from typing import Any

from ws_subprocess.service.foreign import is_for_us
from ws_subprocess.service.job import Job, JobState
from ws_subprocess.service.jobs import Jobs
from ws_subprocess.service.reports import RESULT, build_report, explain_failure

# In memory several times over, for each job that ends just then.
REPORT_MAX_BYTES = 4 * 1024 * 1024

log = logging.getLogger(__name__)

Report = dict[str, Any]
CallbackFunction = Callable[[dict[str, Any], "CommandFuture"], object]


class CommandFuture:
    """A job that has ended, in the words of `concurrent.futures.Future`.

    `result()` is the report that clients will get; to change it, change the returned dictionary, call `set_result`, or
    set `_result` as programs written for Flask-Shell2HTTP do.
    """

    def __init__(self, report: Report | None, error: OSError | None, is_cancelled: bool) -> None:
        self._result = report
        self._error = error
        self._is_cancelled = is_cancelled

    def result(self, timeout: float | None = None) -> Report:
        """Return the report, at most `REPORT_MAX_BYTES` of each stream.

        Raises:
            OSError: The command could not be started.
        """
        if self._error is not None:
            raise self._error
        assert self._result is not None
        return self._result

    def set_result(self, report: Report) -> None:
        """Have clients get `report`: a dictionary of what JSON can say; anything else is logged and changes nothing."""
        self._result = report

    def exception(self, timeout: float | None = None) -> OSError | None:
        """Return why the command could not be started, None when it was."""
        return self._error

    def done(self) -> bool:
        """Return True: callbacks are called at the end."""
        return True

    def running(self) -> bool:
        """Return False."""
        return False

    def cancelled(self) -> bool:
        """Tell whether somebody stopped it (DELETE)."""
        return self._is_cancelled


class CommandCallbacks:
    """The callbacks of commands by the names of these.

    Args:
        context_fact: The fact of a job that holds what its client wants the callback to know.
    """

    def __init__(self, jobs: Jobs, door: str, context_fact: str) -> None:
        self._jobs = jobs
        self._door = door
        self._context_fact = context_fact
        self._functions: dict[str, CallbackFunction] = {}
        jobs.on_end(self._note_end)

    def add(self, name: str, function: CallbackFunction) -> None:
        """Have `function` called at the end of each job of a command."""
        self._functions[name] = function

    async def _note_end(self, job: Job) -> Mapping[str, Any] | None:
        function = self._functions.get(job.name)
        if function is None or job.door != self._door:
            return None
        future = await self._build_future(job)
        before = copy.deepcopy(future._result)
        try:
            await _call(function, copy.deepcopy(job.facts.get(self._context_fact, {})), future)
            if future._result is None or future._result == before:
                return None
            # Also shows that it is JSON, before anybody relies on it.
            replaced = json.loads(json.dumps(future._result))
            if not isinstance(replaced, dict):
                raise TypeError(f"a report is a dictionary, not {type(replaced).__name__}")
        except BaseException as exc:
            if is_for_us(exc):
                raise
            log.exception("callback failed", extra={"job": job.id, "command": job.name})
            return None
        return {RESULT: replaced}

    async def _build_future(self, job: Job) -> CommandFuture:
        if job.state is JobState.FAILED:
            return CommandFuture(None, OSError(explain_failure(job)), is_cancelled=False)
        report = await build_report(job, lambda *span: self._jobs.read_output(job.id, *span), REPORT_MAX_BYTES)
        return CommandFuture(report, None, job.state is JobState.KILLED)


async def _call(function: CallbackFunction, context: dict[str, Any], future: CommandFuture) -> None:
    if inspect.iscoroutinefunction(function):
        await function(context, future)
        return
    returned = await asyncio.to_thread(function, context, future)
    if inspect.isawaitable(returned):
        await returned
