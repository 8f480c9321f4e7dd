"""Bounds the connections that this server waits for, and cuts some of them when they are too many.

Law: a connection has a seat in the waiting room whenever its client is to act: until its TLS handshake is done and the
head of its request has come, between two requests, while it takes too little of a response. So a client can hold a
descriptor without a seat only while it is served, and whoever is served as a session counts as one.
"""

import asyncio
import contextlib
import functools
import logging
import secrets
import socket
from collections.abc import Callable

from ws_subprocess.server.waiting import WaitingRoom

log = logging.getLogger(__name__)

_REPORT_INTERVAL_S = 10.0
_HOSTS_REMEMBERED = 1024


class Doorkeeper:
    """Gives every connection of a server its seat.

    Args:
        max_waiting: Connections in all.
        max_per_address: Those of one address.
        find_share: Returns whose share a client at this host takes, None for those that may be many clients.
    """

    def __init__(self, max_waiting: int, max_per_address: int, find_share: Callable[[str], str | None]) -> None:
        self._room: WaitingRoom[Seat] = WaitingRoom(max_waiting, max_per_address, secrets.SystemRandom())
        # Who comes once comes often, and taking an address apart is most of what a seat costs.
        self._find_share = functools.lru_cache(_HOSTS_REMEMBERED)(find_share)
        self._loop = asyncio.get_running_loop()
        self._cut = 0
        self._report_timer: asyncio.TimerHandle | None = None

    def seat(self, sock: socket.socket, host: str | None) -> "Seat":
        """Return the seat, taken already, of a connection that was just accepted.

        Args:
            host: Its client's address, None on a unix socket.
        """
        seat = Seat(self, sock, None if host is None else self._find_share(host), self._loop.time())
        self.let_in(seat)
        return seat

    def let_in(self, seat: "Seat") -> None:
        """Count a seat as taken; the connection of another may be cut for it."""
        self._cut_off(self._room.enter(seat, seat.share))

    def make_room(self) -> bool:
        """Cut one connection that waits, because there are no descriptors for others; tell whether there was one."""
        victim = self._room.expel()
        self._cut_off(victim)
        return victim is not None

    def let_go(self, seat: "Seat") -> None:
        """Count a seat as free."""
        self._room.leave(seat)

    def close(self) -> None:
        """Report what is left to report."""
        if self._report_timer is not None:
            self._report()
        if self._report_timer is not None:
            self._report_timer.cancel()
            self._report_timer = None

    def _cut_off(self, victim: "Seat | None") -> None:
        if victim is None:
            return
        victim.cut()
        self._cut += 1
        if self._report_timer is None:
            self._report()

    def _report(self) -> None:
        """Log how many were cut since the last time, if any, and not again for a while."""
        self._report_timer = None
        if self._cut:
            log.warning("connections cut: too many wait", extra={"cut": self._cut, "waiting": len(self._room)})
            self._cut = 0
            self._report_timer = self._loop.call_later(_REPORT_INTERVAL_S, self._report)


class Seat:
    """One connection's place among those that are waited for.

    Attributes:
        share: Whose share of the seats it takes.
        since_s: When the connection was accepted, in the loop's time.
    """

    __slots__ = ("_doorkeeper", "_sock", "share", "since_s")

    def __init__(self, doorkeeper: Doorkeeper, sock: socket.socket, share: str | None, since_s: float) -> None:
        self._doorkeeper = doorkeeper
        self._sock = sock
        self.share = share
        self.since_s = since_s

    def take(self) -> None:
        """Wait for the client from now on. Idempotent."""
        self._doorkeeper.let_in(self)

    def leave(self) -> None:
        """Wait no more. Idempotent; the last call must come before the socket is closed."""
        self._doorkeeper.let_go(self)

    def cut(self) -> None:
        """End the connection, whoever has it: a transport, a TLS handshake, or nobody yet.

        Whoever has it reads the end of the stream, or cannot write, and closes the socket as always. An answer that
        the kernel has taken still reaches a slow client.
        """
        with contextlib.suppress(OSError):  # The client was quicker.
            self._sock.shutdown(socket.SHUT_RDWR)
