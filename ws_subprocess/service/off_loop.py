"""Runs functions that block on threads of their own, so many at a time.

Laws: a thread is taken until its function returns, whoever has given up waiting for it; what waited for a thread too
long never begins.
"""

import asyncio
import contextvars
import inspect
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ws_subprocess.dialects.outcomes import BROKEN
from ws_subprocess.service.functions import Caller, Function

log = logging.getLogger(__name__)


class Threads:
    """At most `threads_max` functions at a time; a thread is made when it is first needed."""

    def __init__(self, threads_max: int) -> None:
        self._pool = ThreadPoolExecutor(threads_max, thread_name_prefix="rpc")

    def adapt(self, function: Callable[[Any], Any]) -> Function:
        """Return `function` as the table wants it: one that is `async` runs on the loop, any other on a thread."""
        if _is_async(function):

            async def call_here(data: Any, caller: Caller) -> Any:
                return await function(data)

            return call_here

        async def call_there(data: Any, caller: Caller) -> Any:
            context = contextvars.copy_context()
            loop = asyncio.get_running_loop()
            returned = await loop.run_in_executor(self._pool, context.run, _call, function, data)
            return await returned if inspect.isawaitable(returned) else returned

        return call_there

    def close(self) -> None:
        """Begin nothing any more; what runs goes on to its end."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _call(function: Callable[[Any], Any], data: Any) -> Any:
    # Logged here: of a function that outlasts its deadline nobody else would hear.
    try:
        return function(data)
    except BaseException:
        log.exception("function raised", extra={"function": getattr(function, "__qualname__", repr(function))})
        return BROKEN


def _is_async(function: Callable[[Any], Any]) -> bool:
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)
