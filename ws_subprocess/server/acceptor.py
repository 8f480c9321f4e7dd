"""Accepts connections, and goes on accepting after the process ran out of descriptors.

The event loops do this too, but differently: asyncio's pauses for a second and says so; uvloop's closes the listening
socket for good and says nothing. So this accepts by itself on both.
"""

import asyncio
import errno
import logging
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass

from ws_subprocess.server.doorkeeper import Doorkeeper, Seat
from ws_subprocess.server.spares import Spares

log = logging.getLogger(__name__)

# Connections taken at once, so that a stampede cannot keep the loop from what is connected already.
_BATCH = 32
_PAUSE_S = 0.25
_WARNING_INTERVAL_S = 10.0
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


@dataclass(frozen=True, slots=True)
class Entrance:
    """What all listening sockets of a server share.

    Attributes:
        build_protocol: Returns what serves a connection, given its seat.
        handshake_timeout_s: For a client's TLS handshake.
        tasks: Holds the tasks that are started here for as long as they run.
    """

    build_protocol: Callable[[Seat], asyncio.Protocol]
    tls: ssl.SSLContext | None
    handshake_timeout_s: float
    tasks: set[asyncio.Task[None]]
    doorkeeper: Doorkeeper
    spares: Spares


class Acceptor:
    """Takes connections from one listening socket and gives each a seat and a protocol."""

    def __init__(self, sock: socket.socket, entrance: Entrance) -> None:
        self._sock = sock
        self._entrance = entrance
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._is_exhausted = False
        self._silent_until_s = 0.0
        self._loop.add_reader(sock, self._on_readable)

    def stop(self) -> None:
        """Accept no more; the socket stays open."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)

    def _on_readable(self) -> None:
        if self._is_exhausted:
            self._is_exhausted = not self._entrance.spares.refill()
        for _ in range(_BATCH):
            try:
                accepted = self._accept()
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                self._wait(exc)
                return
            if accepted is None:
                return
            sock, host = accepted
            sock.setblocking(False)
            task = self._loop.create_task(self._connect(sock, self._entrance.doorkeeper.seat(sock, host)))
            self._entrance.tasks.add(task)
            task.add_done_callback(self._entrance.tasks.discard)

    def _accept(self) -> tuple[socket.socket, str | None] | None:
        """Return the next connection and its client's host (None on a unix socket), None when nobody knocks."""
        try:
            sock, address = self._sock.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return None
        except OSError as exc:
            if exc.errno != errno.EMFILE or not self._entrance.spares.give_up():
                raise
            self._note_exhaustion(exc)
            return self._accept()
        if self._is_exhausted:
            self._entrance.doorkeeper.make_room()
        return sock, address[0] if isinstance(address, tuple) else None

    async def _connect(self, sock: socket.socket, seat: Seat) -> None:
        timeout_s = self._entrance.handshake_timeout_s if self._entrance.tls else None
        try:
            await self._loop.connect_accepted_socket(
                lambda: self._entrance.build_protocol(seat),
                sock,
                ssl=self._entrance.tls,
                ssl_handshake_timeout=timeout_s,
            )
        except OSError as exc:
            # A client that left, or speaks no TLS we speak; ssl.SSLError and TimeoutError are OSErrors.
            log.debug("connection not established", extra={"reason": str(exc)})
            seat.leave()
            sock.close()

    def _wait(self, exc: OSError) -> None:
        """Let somebody go who only waits; else look away: asking again at once would only burn time."""
        self._note_exhaustion(exc)
        if self._entrance.doorkeeper.make_room():
            return
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(_PAUSE_S, self._loop.add_reader, self._sock, self._on_readable)

    def _note_exhaustion(self, exc: OSError) -> None:
        self._is_exhausted = True
        if self._loop.time() >= self._silent_until_s:
            self._silent_until_s = self._loop.time() + _WARNING_INTERVAL_S
            log.warning("no descriptors left for connections; allow more open files", extra={"reason": exc.strerror})
