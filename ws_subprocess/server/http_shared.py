"""What both HTTP protocols share: deadlines for the client, and how a request is refused."""

import asyncio

from ws_subprocess.server.linger import linger
from ws_subprocess.server.request_rules import Refusal
from ws_subprocess.server.settings import LINGER_S


class Deadline:
    """Cuts a connection unless `stop` follows `start` within `timeout_s`."""

    __slots__ = ("_loop", "_timeout_s", "_timer", "_transport")

    def __init__(self, transport: asyncio.Transport, timeout_s: float) -> None:
        self._transport = transport
        self._timeout_s = timeout_s
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None

    def start(self, since_s: float | None = None) -> None:
        """Begin to wait; a wait that has begun goes on, so trickled bytes gain nothing.

        Args:
            since_s: When it really began, in the loop's time; None for now.
        """
        if self._timer is None:
            begun_s = self._loop.time() if since_s is None else since_s
            self._timer = self._loop.call_at(begun_s + self._timeout_s, self._transport.abort)

    def stop(self) -> None:
        """Wait no more. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def refuse(transport: asyncio.Transport, protocol: asyncio.Protocol, refusal: Refusal) -> None:
    """Answer with `refusal` and end the connection so that the client can read it, whatever it is still sending."""
    transport.write(refusal.serialize())
    linger(transport, protocol, LINGER_S)
