"""Code of the program around us, which may end in any way: it must end neither us nor the event loop."""

import asyncio


def is_for_us(exc: BaseException) -> bool:
    """Tell whether what foreign code ended with was meant for the task that awaited it.

    Other ends are the foreign code's own affair: also `SystemExit`, which would end the event loop, and the
    cancellation of something that it awaited.
    """
    if isinstance(exc, asyncio.CancelledError):
        task = asyncio.current_task()
        return task is not None and task.cancelling() > 0
    return isinstance(exc, GeneratorExit)
