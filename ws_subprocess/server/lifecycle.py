"""From the first listening socket to the exit status.

Laws:
    The first SIGTERM or SIGINT lets sessions end; listening goes on, so that new clients hear 503 and not silence. The
    second one ends everything at once. Neither leaves a session, a socket file or a wrong exit status behind.
"""

import asyncio
import contextlib
import functools
import importlib.util
import logging
import signal
import socket
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from typing import Any, Protocol

from uvicorn.config import Config
from uvicorn.server import Server

from ws_subprocess.address import DOOR_KEY, format_url, group_address, is_local
from ws_subprocess.server.acceptor import Acceptor, Entrance
from ws_subprocess.server.asgi import Application
from ws_subprocess.server.doorkeeper import Doorkeeper, Seat
from ws_subprocess.server.foreign_logs import quiet_foreign_logs
from ws_subprocess.server.process_state import prepare_process, settle_memory
from ws_subprocess.server.proxies import TrustedProxies
from ws_subprocess.server.service_manager import notify
from ws_subprocess.server.settings import ServerSettings, StartError
from ws_subprocess.server.sockets import Listener, open_listeners
from ws_subprocess.server.spares import Spares
from ws_subprocess.server.tls import build_context

log = logging.getLogger(__name__)

# A second signal asks for haste, and gets it: that is no failure either.
EXIT_STATUS = 0

# For the whole ladder of signals over all sessions' trees.
_END_TIMEOUT_S = 15.0
# At the end nobody is waited for longer than this, however slowly it may close at other times.
_FAREWELL_TIMEOUT_S = 5.0
_LEAVE_TIMEOUT_S = 0.25
_CANCEL_TIMEOUT_S = 1.0
_CLOCK_TICK_S = 1.0
_IDLE_POLL_S = 0.01
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

    async def main() -> int:
        status = await serve(application, settings, lifecycle, settle)
        # What is left is the interpreter's own end; a late signal must not turn an orderly exit into a death.
        for signum in _STOP_SIGNALS:
            signal.signal(signum, signal.SIG_IGN)
        return status

    with asyncio.Runner(loop_factory=_find_loop_factory()) as runner:
        return runner.run(main())


async def serve(
    application: Application, settings: ServerSettings, lifecycle: Lifecycle, on_ready: Callable[[list[str]], None]
) -> int:
    """Serve on the running loop until a signal ends it (see `run`)."""
    server = DrainingServer(application, settings, lifecycle, on_ready, find_http_protocol())
    try:
        await server.serve()
    finally:
        server.close_listeners()
    return EXIT_STATUS


class DrainingServer(Server):
    """uvicorn's server with our listeners, our signals and a drain before the shutdown."""

    def __init__(
        self,
        application: Application,
        settings: ServerSettings,
        lifecycle: Lifecycle,
        on_ready: Callable[[list[str]], None],
        http_protocol: type[asyncio.Protocol],
    ) -> None:
        """Prepare; nothing listens yet.

        Args:
            http_protocol: `HttpToolsConnection` or `H11Connection`; see `find_http_protocol`.
        """
        quiet_foreign_logs()
        self._proxies = TrustedProxies(application, settings.trusted_proxies)
        served = self._proxies if settings.trusted_proxies else application
        super().__init__(_build_config(served, settings, http_protocol))
        self._settings = settings
        self._lifecycle = lifecycle
        self._on_ready = on_ready
        self._tls = build_context(settings.tls_cert, settings.tls_key) if settings.tls_cert else None
        # By door; "" for all of them.
        self._listeners: dict[str, list[Listener]] = {}
        self._acceptors: list[Acceptor] = []
        self._entrance: Entrance | None = None
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    # uvicorn calls these, in this order.

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
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
        """Take the addresses, start the application, then accept."""
        for door, addresses in {"": self._settings.addresses, **self._settings.doors}.items():
            self._listeners[door] = open_listeners(addresses, self._settings.unix_mode)
        await self.lifespan.startup()
        if self.lifespan.should_exit:
            raise StartError("the application did not start; the log says why")
        await self.on_tick(0)
        self._entrance = entrance = self._open_entrance()
        for door, listeners in self._listeners.items():
            way_in = replace(entrance, build_protocol=functools.partial(self._build_protocol, door))
            self._acceptors += [Acceptor(listener.sock, way_in) for listener in listeners]
            if door:
                facts = {"door": door, "addresses": " ".join(self.list_urls(door))}
                log.info("listening for one door alone", extra=facts)
        self.started = True
        self._on_ready(self.list_urls())
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
        self.close_listeners()
        await self._close_connections()
        # Who is in a hurry does not wait long for the application; cut off unasked, it would complain.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_TIMEOUT_S if self.force_exit else None):
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

    def close_listeners(self) -> None:
        """Accept no more and remove our socket files. Idempotent."""
        while self._acceptors:
            self._acceptors.pop().stop()
        if self._entrance is not None:
            self._entrance.spares.close()
            self._entrance.doorkeeper.close()
        while self._listeners:
            for listener in self._listeners.popitem()[1]:
                listener.close()

    def list_urls(self, door: str = "") -> list[str]:
        """Return where this listens, for all doors or for one alone."""
        listeners = self._listeners.get(door, [])
        return [format_url(listener.address, tls=self._tls is not None) for listener in listeners]

    def _build_protocol(self, door: str, seat: Seat) -> asyncio.Protocol:
        state = {**self.lifespan.state, DOOR_KEY: door} if door else self.lifespan.state
        protocol_class: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = protocol_class(
            config=self.config, server_state=self.server_state, app_state=state, seat=seat
        )
        return protocol

    def _open_entrance(self) -> Entrance:
        settings = self._settings
        doorkeeper = Doorkeeper(settings.max_waiting, settings.max_waiting_per_address, self._find_share)
        timeout_s = settings.handshake_timeout_s
        build_protocol = functools.partial(self._build_protocol, "")
        return Entrance(build_protocol, self._tls, timeout_s, self.server_state.tasks, doorkeeper, Spares())

    def _find_share(self, host: str) -> str | None:
        """Return whose share of the waiting a client takes, None for a proxy, known or local: it speaks for many."""
        return None if is_local(host) or self._proxies.trusts(host) else group_address(host)

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
        # Ours, not the ones uvicorn's annotation names: `HttpToolsConnection` or `H11Connection`, and `WebSocketApp`.
        connections: set[Any] = self.server_state.connections
        for connection in list(connections):
            connection.shutdown()
        await self._finishes(self._idle(), min(self._settings.close_timeout_s, _FAREWELL_TIMEOUT_S))
        for connection in list(connections):
            connection.abort()
        # Those whose client has gone end by themselves.
        await self._finishes(self._idle(), _LEAVE_TIMEOUT_S)
        for task in list(self.server_state.tasks):
            task.cancel()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_CANCEL_TIMEOUT_S):
                await self._idle()

    async def _idle(self) -> None:
        """Return once no connection and no task is left."""
        # uvicorn's sets tell nobody when they become empty.
        while self.server_state.connections or self.server_state.tasks:  # noqa: ASYNC110
            await asyncio.sleep(_IDLE_POLL_S)


def _build_config(application: Application, settings: ServerSettings, http_protocol: type[asyncio.Protocol]) -> Config:
    """Return uvicorn's configuration: nothing of it is left to uvicorn's defaults that read the environment."""
    keep_alive_timeout_s: Any = settings.keep_alive_timeout_s  # whole seconds says its annotation; any number will do
    return Config(
        application,
        http=functools.partial(http_protocol, settings),  # type: ignore[arg-type,call-arg] # it is only ever called
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
        timeout_keep_alive=keep_alive_timeout_s,
    )


def find_http_protocol() -> type[asyncio.Protocol]:
    """Return the fastest of our HTTP protocols whose parser is installed."""
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
