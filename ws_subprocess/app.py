"""Composition root: builds every service from the settings and returns one ASGI application. The only place that does.

    app = create_app(Settings(controller_url="http://127.0.0.1:8000/ws-controller"))

The daemon serves this application; so can anybody: `host.mount("/terminal", create_app(settings, owns_process=False))`.
"""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from starlette.applications import Starlette
from starlette.responses import RedirectResponse
from starlette.routing import BaseRoute, Mount, Route, Router, WebSocketRoute, request_response
from starlette.types import ASGIApp, Receive, Scope, Send

from ws_subprocess.auth.client_tls import build_context
from ws_subprocess.auth.controller import Controller, ControllerSettings
from ws_subprocess.auth.fixed import OneCommand
from ws_subprocess.auth.gate import Authority, Gate, Ledger
from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.auth.policy import Policy
from ws_subprocess.auth.tokens import StaticTokens, TokensFileError
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.secrets import read_secret
from ws_subprocess.config.settings import CONTROLLER_URL_DEFAULT, Settings
from ws_subprocess.config.state import find_state_dir
from ws_subprocess.doors.operations import Operations
from ws_subprocess.doors.pages import Guard, build_files, build_index, find_static
from ws_subprocess.doors.problems import explain_status, refuse_path
from ws_subprocess.doors.terminal import TerminalDoor
from ws_subprocess.model import ALL_RIGHTS, TO_WATCH, ExitStatus, Grant
from ws_subprocess.process.accounts import find_own_entry
from ws_subprocess.process.confinement import ChildDefaults
from ws_subprocess.process.environ import is_refused
from ws_subprocess.process.spawner import Spawner
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.registry import SessionRegistry
from ws_subprocess.store.used_tokens import UsedTokens
from ws_subprocess.telemetry import Metrics

_SWEEP_S = 5.0


class App:
    """The ASGI application, and what a server needs to end it in order.

    Attributes:
        metrics: The figures that `/metrics` shows.
        registry: The live sessions.
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
        self._gate = Gate(authorities, policy, ledger, self.metrics.unknown_keys.inc)
        limits = SessionLimits(ring_bytes=settings.ring_bytes, window_bytes=settings.window_bytes)
        handshakes_per_s = settings.max_handshakes_per_address
        launcher = Launcher(self._gate, self._spawner, self.registry, limits, self.metrics, handshakes_per_s)
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

    Raises:
        ConfigError: A file that the settings name cannot be used.
        StateError: `state_dir` cannot be used.
    """
    return App(settings, _build_authorities(settings), _build_ledger(settings), owns_process, child_nofile)


def find_controller_url(settings: Settings) -> str:
    """Return the controller that is asked, "" for none: where nobody else is named, the usual one."""
    if settings.controller_url or settings.jwt_keys or settings.jwt_jwks_url or settings.tokens_file:
        return settings.controller_url
    return CONTROLLER_URL_DEFAULT


def needs_state(settings: Settings) -> bool:
    """Tell whether some token counts once, which must be remembered."""
    return bool(settings.jwt_keys or settings.jwt_jwks_url or settings.token_once)


def _build_authorities(settings: Settings) -> list[Authority]:
    """Return who is asked about tokens: those first that know at once, then the controller."""
    authorities: list[Authority] = []
    if settings.tokens_file:
        authorities.append(_read_tokens(settings.tokens_file))
    if settings.jwt_keys or settings.jwt_jwks_url:
        authorities.append(_build_signed(settings))
    if url := find_controller_url(settings):
        authorities.append(_build_controller(settings, url))
    return authorities


def _build_signed(settings: Settings) -> Authority:
    # Not at the top: where no token is signed, nobody should wait for cryptography.
    from ws_subprocess.auth.jwks import PublishedKeys
    from ws_subprocess.auth.key_ring import KeyRing
    from ws_subprocess.auth.signed import SignedTokens
    from ws_subprocess.config.signing_keys import build_rules, read_keys

    try:
        keys = KeyRing(read_keys(settings.jwt_keys, os.environ))
    except ValueError as exc:
        raise ConfigError(Problem("settings", "bad_config", f"jwt_keys = {exc}")) from exc
    published = PublishedKeys(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
    rules, kind = build_rules(settings), settings.jwt_type
    return SignedTokens(keys, published, rules, is_refused, token_type=kind, is_once=settings.token_once)


def _build_controller(settings: Settings, url: str) -> Controller:
    ca, cert, key = settings.controller_ca, settings.controller_cert, settings.controller_key
    try:
        section = ControllerSettings(
            url=url,
            timeout_s=settings.controller_timeout_s,
            max_questions=settings.controller_max_questions,
            socket=settings.controller_socket,
            tls=build_context(url, ca, cert, key),
            hmac_key=_read_hmac_key(settings.controller_hmac_key),
            is_token_once=settings.token_once,
        )
    except ValueError as exc:
        raise ConfigError(Problem("settings", "bad_config", str(exc))) from exc
    return Controller(section, is_refused)


def _read_hmac_key(reference: str) -> bytes | None:
    try:
        return read_secret(reference, os.environ) if reference else None
    except ValueError as exc:
        raise ValueError(f"controller_hmac_key = {reference}: {exc}") from exc


def _read_tokens(path: str) -> StaticTokens:
    try:
        return StaticTokens(path, is_refused)
    except TokensFileError as exc:
        raise ConfigError(*(Problem(path, "bad_config", text) for text in exc.problems)) from exc


def _build_ledger(settings: Settings) -> Ledger | None:
    """Return what remembers used tokens, None where no token can count once."""
    if not needs_state(settings):
        return None
    return UsedTokens(settings.state_dir or find_state_dir())


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
