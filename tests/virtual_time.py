"""An event loop whose clock jumps to the next timer as soon as there is nothing else to do: days pass in no time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any

SPINS_MAX = 20_000


class _JumpingSelector(selectors.SelectSelector):
    """Never waits: reports how long it would have."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0
        self._spins = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events:
            return events
        assert timeout is not None, "nothing is due: whoever waits here waits for ever"
        self._spins = self._spins + 1 if timeout == 0 else 0
        assert self._spins < SPINS_MAX, "the loop spins: something is due again and again without time going on"
        self.now += timeout
        return events


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at second 1000 of its own clock."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def virtual_time(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on a `VirtualTimeLoop`; `asyncio.sleep` takes its time on that clock, and none on the wall's."""

    @functools.wraps(test)
    def run(*args: Any, **kwargs: Any) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run


def now() -> float:
    """Return the loop's time."""
    return asyncio.get_running_loop().time()
