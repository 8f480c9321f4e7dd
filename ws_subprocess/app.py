"""Composition root: builds every service from the settings and returns one ASGI application. The only place that does.

    app = create_app(Settings(controller_url="http://127.0.0.1:8000/ws-controller"))

The daemon serves this application; so can anybody: `host.mount("/terminal", create_app(settings, owns_process=False))`.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import PurePosixPath

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from ws_subprocess.auth.controller import Controller
from ws_subprocess.auth.fixed import OneCommand
from ws_subprocess.auth.gate import Authority, Gate
from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.config.settings import Settings
from ws_subprocess.doors.operations import Operations
from ws_subprocess.doors.pages import Guard, build_files, build_index, find_static
from ws_subprocess.doors.problems import explain_status, refuse_path
from ws_subprocess.doors.terminal import TerminalDoor
from ws_subprocess.model import ExitStatus, Grant
from ws_subprocess.process.environ import is_refused
from ws_subprocess.process.spawner import Spawner
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.registry import SessionRegistry
from ws_subprocess.telemetry import Metrics

_SWEEP_S = 5.0


class App:
    """The ASGI application, and what a server needs to end it in order.

    Attributes:
        metrics: The figures that `/metrics` shows.
        registry: The live sessions.
    """

    def __init__(self, settings: Settings, authority: Authority, owns_process: bool, child_nofile: int | None) -> None:
        self.metrics = Metrics()
        self.registry = SessionRegistry(settings.max_sessions)
        self.metrics.count_live = self._count_live
        self._spawner = Spawner(settings.input_bytes, owns_process, child_nofile)
        self._owns_process = owns_process
        self._gate = Gate(authority, self.metrics.unknown_keys.inc)
        limits = SessionLimits(ring_bytes=settings.ring_bytes, window_bytes=settings.window_bytes)
        launcher = Launcher(self._gate, self._spawner, self.registry, limits, self.metrics)
        self._asgi = self._build_routes(settings, launcher)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._asgi(scope, receive, send)

    def begin_drain(self) -> None:
        """Refuse new sessions; live ones go on."""
        self.registry.begin_drain()

    async def drained(self) -> None:
        """Return when no session is left."""
        await self.registry.wait_empty()

    async def end_sessions(self) -> None:
        """End every session in order; return when nothing is left of any."""
        self.registry.begin_drain()
        self.registry.hang_up_all("draining")
        await self.registry.wait_empty()
        self._sweep()

    def kill_sessions(self) -> None:
        """End every session at once."""
        self.registry.begin_drain()
        self.registry.kill_all("draining")
        self._sweep()

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Watch the loop and adopted orphans while the application runs. A host application may enter this itself."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.metrics.watch_loop()), group.create_task(self._sweep_now_and_then())]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self.kill_sessions()
                await self._gate.close()

    def _build_routes(self, settings: Settings, launcher: Launcher) -> Starlette:
        policy = OriginPolicy(settings.allow_origins, settings.allow_hosts)
        terminal = TerminalDoor(launcher, policy, self.metrics)
        operations = Operations(self.metrics, lambda: self.registry.is_draining, settings.metrics)
        folder = find_static()

        def page(path: str, app: ASGIApp) -> Route:
            return Route(path, Guard(app, policy, is_shared=False), methods=["GET"])

        routes: list[BaseRoute] = [
            WebSocketRoute("/ws", terminal),
            Route("/ws", terminal.answer_plain, methods=["GET", "OPTIONS"]),
            page("/healthz", request_response(operations.get_health)),
            page("/readyz", request_response(operations.get_readiness)),
            page("/metrics", request_response(operations.get_metrics)),
            Mount("/static", Guard(build_files(folder), policy, is_shared=True)),
            page("/", build_index(folder)),
        ]
        if settings.base_path:
            router = Router(routes, redirect_slashes=False, default=refuse_path)
            slash = RedirectResponse(settings.base_path.rpartition("/")[2] + "/")
            routes = [page(settings.base_path, slash), Mount(settings.base_path, router)]
        handlers = {404: explain_status, 405: explain_status}
        application = Starlette(routes=routes, lifespan=self.lifespan, exception_handlers=handlers)
        # Its own redirects would carry a token of the query on, to a Host that nobody has checked.
        application.router.redirect_slashes = False
        application.router.default = refuse_path
        return application

    def _count_live(self) -> tuple[int, int, int]:
        sessions = list(self.registry)
        return len(sessions), sum(s.input_bytes for s in sessions), sum(s.ring.end for s in sessions)

    def _sweep(self) -> None:
        if self._owns_process:
            self._spawner.sweep()

    async def _sweep_now_and_then(self) -> None:
        while True:
            await asyncio.sleep(_SWEEP_S)
            self._sweep()


@dataclass(frozen=True, slots=True)
class Command:
    """What `ws-subprocess run` runs: an absolute path, its arguments, and how it is shown (`title` "": by its name)."""

    path: str
    args: tuple[str, ...]
    cwd: str
    title: str
    is_writable: bool


def create_app(settings: Settings, owns_process: bool = False, child_nofile: int | None = None) -> App:
    """Return the application for these settings.

    Args:
        owns_process: True only for a process that does nothing else: orphans are then adopted and swept.
        child_nofile: Soft limit of open files for children; None leaves them the process' own.
    """
    controller = Controller(settings.controller_url, settings.controller_timeout_s, is_refused)
    return App(settings, controller, owns_process, child_nofile)


def create_run_app(
    settings: Settings,
    command: Command,
    token: str,
    on_session_end: Callable[[ExitStatus], None],
    child_nofile: int | None = None,
) -> App:
    """Return the application that runs one command for whoever has the token; `on_session_end` hears how each ended."""
    grant = Grant(
        command=command.path,
        args=command.args,
        cwd=command.cwd,
        title=command.title or PurePosixPath(command.path).name,
        read_only=not command.is_writable,
    )
    app = App(settings, OneCommand(token, grant), True, child_nofile)
    app.registry.on_end(lambda session: on_session_end(session.ended.status) if session.ended else None)
    return app
