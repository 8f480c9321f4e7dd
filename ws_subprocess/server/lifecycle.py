"""From the first listening socket to the exit status.

Laws:
    The first SIGTERM or SIGINT lets sessions end; listening goes on so that new clients hear 503 and not a refused connection.
    The second one ends everything at once. Neither leaves a session, a socket file or a wrong exit status behind.
"""

import asyncio
import contextlib
import functools
import importlib.util
import logging
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.server import Server

from ws_subprocess.address import format_url
from ws_subprocess.server.acceptor import Acceptor
from ws_subprocess.server.asgi import Application
from ws_subprocess.server.foreign_logs import quiet_foreign_logs
from ws_subprocess.server.process_state import prepare_process, settle_memory
from ws_subprocess.server.proxies import TrustedProxies
from ws_subprocess.server.service_manager import notify
from ws_subprocess.server.settings import ServerSettings, StartError
from ws_subprocess.server.sockets import Listener, open_listeners
from ws_subprocess.server.tls import build_context

log = logging.getLogger(__name__)

EXIT_ORDERLY = 0
EXIT_FORCED = 1

# For the whole ladder of signals over all sessions' trees.
_END_TIMEOUT_S = 15.0
# For clients to answer our Close, and for responses under way.
_CLOSE_TIMEOUT_S = 5.0
_CANCEL_TIMEOUT_S = 1.0
_CLOCK_TICK_S = 1.0
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Lifecycle(Protocol):
    """What the server asks of whoever holds the sessions. All of it may be called when there are none."""

    def begin_drain(self) -> None:
        """Refuse new sessions and say so on the readiness route; tell live sessions that the end is near."""

    async def drained(self) -> None:
        """Return once no session is left."""

    async def end_sessions(self) -> None:
        """End every session in good order and return once nothing of them is left."""

    def kill_sessions(self) -> None:
        """End what is left of every session before returning."""


def run(
    application: Application, settings: ServerSettings, lifecycle: Lifecycle, on_ready: Callable[[list[str]], None]
) -> int:
    """Serve until a signal ends it, as the only task of this process, and return the exit status.

    uvloop and httptools are used when they are installed.

    Args:
        on_ready: Called once with the URLs that can be opened now.

    Raises:
        StartError: Serving cannot begin.
    """
    prepare_process()

    def settle(urls: list[str]) -> None:
        settle_memory()
        on_ready(urls)

    with asyncio.Runner(loop_factory=_find_loop_factory()) as runner:
        status = runner.run(serve(application, settings, lifecycle, settle))
    # What is left is the interpreter's own end; a late signal must not turn an orderly exit into a death.
    for signum in _STOP_SIGNALS:
        signal.signal(signum, signal.SIG_IGN)
    return status


async def serve(
    application: Application, settings: ServerSettings, lifecycle: Lifecycle, on_ready: Callable[[list[str]], None]
) -> int:
    """Serve on the running loop until a signal ends it (see `run`)."""
    quiet_foreign_logs()
    tls = build_context(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
    if settings.trusted_proxies:
        application = TrustedProxies(application, settings.trusted_proxies)
    listeners = open_listeners(settings.addresses, settings.unix_mode)
    try:
        server = DrainingServer(_build_config(application, settings), settings, lifecycle, listeners, tls, on_ready)
        await server.serve()
        return EXIT_FORCED if server.force_exit else EXIT_ORDERLY
    finally:
        for listener in listeners:
            listener.close()


class DrainingServer(Server):
    """uvicorn's server with our listeners, our signals and a drain before the shutdown."""

    def __init__(
        self,
        config: Config,
        settings: ServerSettings,
        lifecycle: Lifecycle,
        listeners: Sequence[Listener],
        tls: ssl.SSLContext | None,
        on_ready: Callable[[list[str]], None],
    ) -> None:
        super().__init__(config)
        self._settings = settings
        self._lifecycle = lifecycle
        self._listeners = listeners
        self._tls = tls
        self._on_ready = on_ready
        self._acceptors: list[Acceptor] = []
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    # uvicorn calls these, in this order.

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:  # type: ignore[override]
        """Answer signals at once; unlike uvicorn's, do not raise them again at the end: an orderly end is status 0."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        loop = asyncio.get_running_loop()
        for signum in _STOP_SIGNALS:
            loop.add_signal_handler(signum, self.stop)
        try:
            yield
        finally:
            for signum in _STOP_SIGNALS:
                loop.remove_signal_handler(signum)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, then accept."""
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartError("the application did not start; the log says why")
        await self.on_tick(0)
        build_protocol = functools.partial(
            self.config.http_protocol_class,
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
        )
        timeout_s, tasks = self._settings.handshake_timeout_s, self.server_state.tasks
        for listener in self._listeners:
            self._acceptors.append(Acceptor(listener.sock, build_protocol, self._tls, timeout_s, tasks))
        self.started = True
        self._on_ready([format_url(listener.address, tls=self._tls is not None) for listener in self._listeners])
        notify("READY=1")

    async def main_loop(self) -> None:
        """Keep the Date header right until a signal comes."""
        while not self._stop.is_set():
            await self.on_tick(0)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_CLOCK_TICK_S):
                    await self._stop.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Drain, end what is left, close, and let the application end."""
        try:
            await self._drain()
        finally:
            self._lifecycle.kill_sessions()
        for acceptor in self._acceptors:
            acceptor.stop()
        for listener in self._listeners:
            listener.close()
        await self._close_connections()
        if not self.force_exit:
            await self.lifespan.shutdown()

    # Ours.

    def stop(self) -> None:
        """Begin to drain; called again, end at once."""
        if not self._stop.is_set():
            log.info("draining", extra={"timeout_s": self._settings.drain_timeout_s})
            self._stop.set()
            self._lifecycle.begin_drain()
            notify("STOPPING=1")
        elif not self.force_exit:
            log.warning("ending at once: a second signal came while draining")
            self.force_exit = True
            self._force.set()
            self._lifecycle.kill_sessions()

    async def _drain(self) -> None:
        if await self._finishes(self._lifecycle.drained(), self._settings.drain_timeout_s) or self.force_exit:
            return
        log.warning("ending the sessions that did not end by themselves")
        if not await self._finishes(self._lifecycle.end_sessions(), _END_TIMEOUT_S) and not self.force_exit:
            log.error("sessions did not end and are killed", extra={"timeout_s": _END_TIMEOUT_S})

    async def _finishes(self, work: Coroutine[Any, Any, None], timeout_s: float) -> bool:
        """Tell whether `work` came to its end before the time was up and before a second signal."""
        tasks = (asyncio.ensure_future(work), asyncio.ensure_future(self._force.wait()))
        try:
            await asyncio.wait(tasks, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
            return tasks[0].done()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _close_connections(self) -> None:
        """Tell every connection to end, give it a moment, then cut what is left."""
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        await self._until_idle(0.0 if self.force_exit else _CLOSE_TIMEOUT_S)
        for connection in list(state.connections):
            connection.abort()
        for task in list(state.tasks):
            task.cancel()
        await self._until_idle(_CANCEL_TIMEOUT_S)

    async def _until_idle(self, timeout_s: float) -> None:
        ends_at_s = asyncio.get_running_loop().time() + timeout_s
        state = self.server_state
        while (state.connections or state.tasks) and asyncio.get_running_loop().time() < ends_at_s:
            await asyncio.sleep(0.01)


def _build_config(application: Application, settings: ServerSettings) -> Config:
    """Return uvicorn's configuration: nothing of it is left to uvicorn's defaults that read the environment."""
    return Config(
        application,
        http=functools.partial(_find_http_protocol(), settings),  # type: ignore[arg-type]
        ws="none",
        loop="none",
        interface="asgi3",
        lifespan="auto",
        workers=1,
        proxy_headers=False,
        forwarded_allow_ips=[],
        server_header=False,
        access_log=False,
        log_config=None,
        timeout_keep_alive=settings.keep_alive_timeout_s,  # type: ignore[arg-type]
    )


def _find_http_protocol() -> type[asyncio.Protocol]:
    # Imported here because each imports a parser that may not be installed.
    if importlib.util.find_spec("httptools"):
        from ws_subprocess.server.http_httptools import HttpToolsConnection

        return HttpToolsConnection
    from ws_subprocess.server.http_h11 import H11Connection

    return H11Connection


def _find_loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    if importlib.util.find_spec("uvloop"):
        import uvloop

        return uvloop.new_event_loop
    return None
