"""Composition root: builds every service from the settings and returns one ASGI application. Nothing
else does but `authorities`, for those who are asked about tokens.

    app = create_app(Settings(controller_url="http://127.0.0.1:8000/ws-controller"))

The daemon serves this application; so can anybody: `host.mount("/terminal", create_app(settings, owns_process=False))`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from ws_subprocess.address import DOOR_KEY
from ws_subprocess.auth.fixed import OneCommand
from ws_subprocess.auth.gate import Authority, Gate, Ledger
from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.auth.outgoing import Outgoing
from ws_subprocess.auth.policy import Policy
from ws_subprocess.authorities import build_authorities, build_ledger
from ws_subprocess.config.commands_file import read_commands
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.settings import Settings
from ws_subprocess.config.state import find_state_dir
from ws_subprocess.dialects.weerpc import V1_0, V1_1
from ws_subprocess.doors.bearer import Threshold
from ws_subprocess.doors.bodies import BodyLimits
from ws_subprocess.doors.command_access import Access
from ws_subprocess.doors.command_starts import CommandLimits, Starts, name_lane
from ws_subprocess.doors.commands import CommandDoor
from ws_subprocess.doors.openapi.document import OpenDoors, build_document
from ws_subprocess.doors.openapi.door import DOCS_PATH, OPENAPI_PATH, build_docs, build_openapi
from ws_subprocess.doors.operations import Operations
from ws_subprocess.doors.pages import Guard, build_files, build_index, find_static
from ws_subprocess.doors.payloads import PayloadDoor
from ws_subprocess.doors.problems import explain_status, refuse_path
from ws_subprocess.doors.process import DOOR as PROCESS_DOOR
from ws_subprocess.doors.process import PATH as PROCESS_PATH
from ws_subprocess.doors.process import ProcessDoor, build_alone
from ws_subprocess.doors.request_ids import RequestIds
from ws_subprocess.doors.rpc import RpcDoor, admit_bearers
from ws_subprocess.doors.terminal import TerminalDoor
from ws_subprocess.model import ALL_RIGHTS, TO_WATCH, ExitStatus, Grant
from ws_subprocess.process.accounts import find_own_entry
from ws_subprocess.process.confinement import ChildDefaults
from ws_subprocess.process.environ import is_refused
from ws_subprocess.process.spawner import Spawner
from ws_subprocess.service.callbacks import Callbacks
from ws_subprocess.service.calls import Dispatcher
from ws_subprocess.service.held_sessions import HeldSessions
from ws_subprocess.service.job import JobLimits
from ws_subprocess.service.jobs import Jobs
from ws_subprocess.service.launch import Launcher
from ws_subprocess.service.named_command import NamedCommand
from ws_subprocess.service.session_functions import WAIT_MAX_S, SessionFunctions
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.registry import SessionRegistry
from ws_subprocess.store.spool import Spool
from ws_subprocess.telemetry import Metrics

OWN_PATHS = (
    "/ws",
    "/healthz",
    "/readyz",
    "/metrics",
    "/static",
    "/process",
    "/payloads",
    "/rpc",
    DOCS_PATH,
    OPENAPI_PATH,
)
"""Where commands cannot be, nor below."""
_SWEEP_S = 5.0
# A client may wait so long by itself; what else its calls take comes on top.
_RPC_TIMEOUT_S = WAIT_MAX_S + 30.0


class App:
    """The ASGI application, and what a server needs to end it in order.

    Attributes:
        metrics: The figures that `/metrics` shows.
        registry: The live sessions.
        settings: What it was made of.
        router: Its routes, for programs that add their own.
    """

    def __init__(
        self,
        settings: Settings,
        authorities: Sequence[Authority],
        ledger: Ledger | None,
        owns_process: bool,
        child_nofile: int | None,
    ) -> None:
        self.metrics = Metrics()
        self.registry = SessionRegistry(
            settings.max_sessions, settings.max_sessions_per_address, settings.max_sessions_per_principal
        )
        self.metrics.count_live = self._count_live
        # Somebody else's process is not ours to deny privileges to.
        allows_setuid = settings.allow_setuid or not owns_process
        defaults = ChildDefaults(settings.user, settings.group)
        self._spawner = Spawner(settings.input_bytes, owns_process, child_nofile, defaults, allows_setuid)
        self._owns_process = owns_process
        own_user = find_own_entry().pw_name
        policy = Policy(settings.allow_commands, settings.allow_cwds, settings.allow_users, settings.user, own_user)
        self._policy = policy
        self._gate = Gate(authorities, policy, ledger, self.metrics.unknown_keys.inc)
        limits = SessionLimits(ring_bytes=settings.ring_bytes, window_bytes=settings.window_bytes)
        handshakes_per_s = settings.max_handshakes_per_address
        launcher = Launcher(self._gate, self._spawner, self.registry, limits, self.metrics, handshakes_per_s)
        self.settings = settings
        self._limits = limits
        self._launcher = launcher
        self._held = HeldSessions(launcher)
        self._callbacks: Callbacks | None = None
        self._commands: tuple[NamedCommand, ...] = ()
        # A door's own listener leads to it and to nothing else.
        self._alone: dict[str, ASGIApp] = {}
        self._asgi = self._build_routes(settings, launcher)
        self._named = RequestIds(self._lead)

    @cached_property
    def jobs(self) -> Jobs:
        """The jobs, opened by the first door that needs them.

        Raises:
            StateError: Their database or their folder cannot be used.
        """
        return _build_jobs(self.settings, self._launcher, self.metrics)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one ASGI connection."""
        await self._named(scope, receive, send)

    async def _lead(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a connection on to what its listener leads to."""
        door = scope.get("state", {}).get(DOOR_KEY)
        await self._alone.get(door, self._asgi)(scope, receive, send)

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
        if self._has_jobs:
            self.jobs.begin_close()
        self._sweep()

    def build_launcher(self, authorities: Sequence[Authority]) -> Launcher:
        """Return a way in of its own to the same sessions, for whoever these authorities let in."""
        gate = Gate(authorities, self._policy, None, self.metrics.unknown_keys.inc)
        return Launcher(gate, self._spawner, self.registry, self._limits, self.metrics)

    @contextlib.asynccontextmanager
    async def lifespan(self, app: Starlette) -> AsyncIterator[None]:
        """Watch the loop and adopted orphans while the application runs. A host application may enter this itself."""
        async with self._held.serve(), asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.metrics.watch_loop()), group.create_task(self._sweep_now_and_then())]
            try:
                if self._has_jobs:
                    # Before the first client: what a daemon that died left behind is ended, and what waited goes on.
                    await self.jobs.start()
                yield
            finally:
                for task in tasks:
                    task.cancel()
                self.kill_sessions()
                if self._has_jobs:
                    await self.jobs.close()
                if self._callbacks is not None:
                    await self._callbacks.close()
                self._spawner.close()
                await self._gate.close()

    def _build_routes(self, settings: Settings, launcher: Launcher) -> Starlette:
        policy = OriginPolicy(settings.allow_origins, settings.allow_hosts, settings.require_origin)
        terminal = TerminalDoor(launcher, policy, self.metrics, f"{settings.base_path}/ws")
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
        routes += self._build_http_doors(settings, Threshold(launcher, policy))
        if doors := self._find_open_doors(settings):
            routes += [
                page(DOCS_PATH, build_docs(folder)),
                page(OPENAPI_PATH, build_openapi(build_document(doors))),
            ]
        self.router = Router(routes, redirect_slashes=False, default=refuse_path)
        if settings.base_path:
            slash = RedirectResponse(settings.base_path.rpartition("/")[2] + "/")
            routes = [page(settings.base_path, slash), Mount(settings.base_path, self.router)]
        handlers = {404: explain_status, 405: explain_status}
        application = Starlette(routes=routes, lifespan=self.lifespan, exception_handlers=handlers)
        # Its own redirects would carry a token of the query on, to a Host that nobody has checked.
        application.router.redirect_slashes = False
        application.router.default = refuse_path
        if not settings.base_path:
            self.router = application.router
        return application

    def _build_http_doors(self, settings: Settings, threshold: Threshold) -> list[BaseRoute]:
        """Return the routes of those that the settings open."""
        routes: list[BaseRoute] = []
        limits = build_body_limits(settings)
        if settings.process_door or settings.process_listen:
            process = ProcessDoor(threshold, limits)
            self._alone[PROCESS_DOOR] = build_alone(process)
            if settings.process_door:
                routes.append(Route(PROCESS_PATH, process))
        if settings.commands_file:
            routes += self._build_commands(settings, threshold, limits)
        if settings.payloads_door:
            payloads = PayloadDoor(threshold, self.jobs, limits, settings.job_ttl_s, settings.base_path)
            routes += payloads.build_routes()
        if settings.rpc_door:
            routes += self._build_rpc(settings, threshold, limits)
        return routes

    def _build_commands(self, settings: Settings, threshold: Threshold, body: BodyLimits) -> list[BaseRoute]:
        file = read_commands(settings.commands_file, os.environ, is_refused)
        _check_paths(settings, file.commands)
        self._commands = file.commands
        self._callbacks = None if file.callbacks is None else Callbacks(Outgoing(file.callbacks), self.jobs)
        limits = build_command_limits(settings, body)
        routes: list[BaseRoute] = []
        for command in file.commands:
            if command.max_running is not None:
                self.jobs.limit_lane(name_lane(command), command.max_running)
            access = Access(threshold.launcher, self.jobs, command)
            starts = Starts(access, limits, self._callbacks, settings.user)
            path = f"{settings.commands_prefix}/{command.name}"
            routes += CommandDoor(path, threshold, access, starts).build_routes()
        return routes

    def _build_rpc(self, settings: Settings, threshold: Threshold, limits: BodyLimits) -> list[BaseRoute]:
        table = SessionFunctions(threshold.launcher, self._held).build_table()
        routes: list[BaseRoute] = []
        for path, version in (("/rpc", V1_1), ("/rpc/1.0", V1_0)):
            admit = admit_bearers(threshold, settings.base_path + path)
            door = RpcDoor(Dispatcher(table, version, _RPC_TIMEOUT_S), admit, limits)
            routes.append(Route(path, door.answer, methods=["POST"]))
        return routes

    def _find_open_doors(self, settings: Settings) -> OpenDoors | None:
        """Return what there is to describe, None where no HTTP door is open."""
        doors = OpenDoors(
            settings.process_door,
            settings.payloads_door,
            settings.rpc_door,
            self._commands,
            settings.commands_prefix,
        )
        return None if doors == OpenDoors(commands_prefix=settings.commands_prefix) else doors

    @property
    def _has_jobs(self) -> bool:
        return "jobs" in vars(self)

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

    Raises:
        ConfigError: A file that the settings name cannot be used.
        StateError: `state_dir` cannot be used.
    """
    return App(settings, build_authorities(settings), build_ledger(settings), owns_process, child_nofile)


def _check_paths(settings: Settings, commands: Iterable[NamedCommand]) -> None:
    """Raise ConfigError for a command that would be at a path of ours."""
    for command in commands:
        path = f"{settings.commands_prefix}/{command.name}"
        if any(f"{path}/".startswith(f"{own}/") for own in OWN_PATHS):
            text = f"{command.name}: {path} is a path of the daemon's own; choose another name or commands_prefix"
            raise ConfigError(Problem(settings.commands_file, "bad_config", text))


def build_body_limits(settings: Settings) -> BodyLimits:
    """Return what requests may send, files apart."""
    return BodyLimits(settings.max_body_bytes, settings.body_timeout_s)


def build_command_limits(settings: Settings, body: BodyLimits) -> CommandLimits:
    """Return what requests of the command door may send."""
    return CommandLimits(body, settings.max_upload_bytes, settings.job_ttl_s)


def needs_jobs(settings: Settings) -> bool:
    """Tell whether some door keeps jobs."""
    return bool(settings.commands_file or settings.payloads_door)


def _build_jobs(settings: Settings, launcher: Launcher, metrics: Metrics) -> Jobs:
    """Open the database and the folder of jobs. Raises StateError when they cannot be used."""
    # Not at the top: who only runs terminals should not wait for SQLAlchemy.
    from ws_subprocess.store.jobs import JobStore

    # Commands that run elsewhere are told where their files are.
    folder = Path(settings.state_dir or find_state_dir()).absolute()
    # First: it keeps every other daemon out of both.
    spool = Spool(folder / "spool", settings.spool_bytes, settings.max_job_output_bytes)
    try:
        store = JobStore(settings.database_url, folder)
    except BaseException:
        spool.release()
        raise
    limits = JobLimits(settings.max_jobs_running, settings.max_jobs_waiting, settings.max_jobs_kept)
    return Jobs(launcher, store, spool, limits, metrics)


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
        rights=ALL_RIGHTS if command.is_writable else TO_WATCH,
    )
    app = App(settings, [OneCommand(token, grant)], None, True, child_nofile)
    app.registry.on_end(lambda session: on_session_end(session.ended.status) if session.ended else None)
    return app
