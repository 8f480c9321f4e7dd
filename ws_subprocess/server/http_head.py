"""What both HTTP protocols share: one deadline for a request's head, and how a request is refused."""

import asyncio
from collections.abc import Callable

from ws_subprocess.server.linger import linger
from ws_subprocess.server.request_rules import Refusal
from ws_subprocess.server.settings import LINGER_S


class HeadDeadline:
    """Calls `on_late` unless the head is complete `timeout_s` after the first chance to send it."""

    __slots__ = ("_loop", "_on_late", "_timeout_s", "_timer")

    def __init__(self, timeout_s: float, on_late: Callable[[], None]) -> None:
        self._timeout_s = timeout_s
        self._on_late = on_late
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to wait for a head; a wait that has begun goes on, so trickled bytes gain nothing."""
        if self._timer is None:
            self._timer = self._loop.call_later(self._timeout_s, self._on_late)

    def stop(self) -> None:
        """The head is complete, or the connection over."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def refuse(transport: asyncio.Transport, protocol: asyncio.Protocol, refusal: Refusal) -> None:
    """Answer with `refusal` and end the connection so that the client can read it, whatever it is still sending."""
    transport.write(refusal.serialize())
    linger(transport, protocol, LINGER_S)
