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

log = logging.getLogger(__name__)

# Connections taken at once, so that a stampede cannot keep the loop from what is connected already.
_BATCH = 32
_PAUSE_S = 0.25
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Acceptor:
    """Takes connections from one listening socket and gives each a protocol."""

    def __init__(
        self,
        sock: socket.socket,
        build_protocol: Callable[[], asyncio.Protocol],
        tls: ssl.SSLContext | None,
        tls_timeout_s: float,
        tasks: set[asyncio.Task[None]],
    ) -> None:
        """Start.

        Args:
            tls_timeout_s: For a client's TLS handshake.
            tasks: Holds the tasks that are started here for as long as they run.
        """
        self._sock = sock
        self._build_protocol = build_protocol
        self._tls = tls
        self._tls_timeout_s = tls_timeout_s if tls else None
        self._tasks = tasks
        self._loop = asyncio.get_running_loop()
        self._pause: asyncio.TimerHandle | None = None
        self._is_exhausted = False
        self._loop.add_reader(sock, self._on_readable)

    def stop(self) -> None:
        """Accept no more; the socket stays open."""
        if self._pause is not None:
            self._pause.cancel()
        self._loop.remove_reader(self._sock)

    def _on_readable(self) -> None:
        for _ in range(_BATCH):
            try:
                sock, _address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as exc:
                if exc.errno not in _EXHAUSTED:
                    raise
                self._wait(exc)
                return
            self._is_exhausted = False
            sock.setblocking(False)
            task = self._loop.create_task(self._connect(sock))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _connect(self, sock: socket.socket) -> None:
        try:
            await self._loop.connect_accepted_socket(
                self._build_protocol, sock, ssl=self._tls, ssl_handshake_timeout=self._tls_timeout_s
            )
        except OSError as exc:
            # A client that left, or speaks no TLS we speak; ssl.SSLError and TimeoutError are OSErrors.
            log.debug("connection not established", extra={"reason": str(exc)})
            sock.close()

    def _wait(self, exc: OSError) -> None:
        """Look away: the socket stays readable, and asking again at once would only burn time."""
        if not self._is_exhausted:
            self._is_exhausted = True
            log.warning("cannot accept connections; allow more open files", extra={"reason": exc.strerror})
        self._loop.remove_reader(self._sock)
        self._pause = self._loop.call_later(_PAUSE_S, self._loop.add_reader, self._sock, self._on_readable)
