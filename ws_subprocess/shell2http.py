"""Commands of a Python web application as jobs over HTTP: the names and meanings of Flask-Shell2HTTP, on ASGI.

    app = Starlette()
    shell2http = Shell2HTTP(app, base_url_prefix="/commands/")
    shell2http.register_command(endpoint="echo", command_name="echo")

Who may ask is for the application to decide, by its middleware or by decorators. The routes: PROTOCOL.md, "Commands".
"""

import logging
import os
import posixpath
import re
import shutil
import tempfile
import weakref
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from starlette.applications import Starlette

from ws_subprocess.app import App, build_body_limits, build_command_limits, create_app
from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.auth.registered import RegisteredCommands
from ws_subprocess.config.settings import Settings
from ws_subprocess.doors.command_access import DOOR, Access, OpenThreshold
from ws_subprocess.doors.command_starts import CONTEXT, CommandLimits, Starts
from ws_subprocess.doors.commands import ENDS, CommandDoor, Decorator
from ws_subprocess.process.environ import is_refused
from ws_subprocess.service.command_future import CallbackFunction, CommandCallbacks
from ws_subprocess.service.launch import Launcher
from ws_subprocess.service.named_command import NamedCommand

EXTENSION = "shell2http"
_URI = re.compile(r"/[A-Za-z0-9._~/-]*")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Engine:
    """What runs the commands: of our own application, or of one that lives beside somebody else's."""

    app: App
    authority: RegisteredCommands
    launcher: Launcher
    callbacks: CommandCallbacks
    limits: CommandLimits


class Shell2HTTP:
    """The commands of one application, which is ours (`create_app`), Starlette or a child of it such as FastAPI.

    Args:
        app: None when `init_app` is called later.
        base_url_prefix: Comes before each endpoint, as it is: end it with a slash.
        executor: Not used: commands take no threads.
        settings: Limits, allowed hosts and origins, and where jobs are remembered, for an application that is not ours.
            Without them jobs are forgotten with the process.

    Attributes:
        app: The application.
    """

    def __init__(
        self,
        app: App | Starlette | None = None,
        base_url_prefix: str = "/",
        *,
        executor: object = None,
        settings: Settings | None = None,
    ) -> None:
        self.app: App | Starlette | None = None
        self._prefix = base_url_prefix
        self._settings = settings
        self._engine: _Engine | None = None
        self._commands: OrderedDict[str, str] = OrderedDict()
        if app is not None:
            self.init_app(app, executor)

    def init_app(self, app: App | Starlette, executor: object = None) -> None:
        """Serve the commands on `app`, in whose `extensions["shell2http"]` this instance is found then.

        Raises:
            StateError: The place for jobs cannot be used.
            ValueError: `settings` are given for an application that has its own.
        """
        if isinstance(app, App):
            if self._settings is not None:
                raise ValueError("settings: this application has its own; give them to create_app")
            engine_app = app
        else:
            engine_app = self._build_beside(app)
        authority = RegisteredCommands(is_refused)
        launcher = engine_app.build_launcher([authority])
        callbacks = CommandCallbacks(engine_app.jobs, DOOR, CONTEXT)
        limits = build_command_limits(engine_app.settings, build_body_limits(engine_app.settings))
        self._engine = _Engine(engine_app, authority, launcher, callbacks, limits)
        self.app = app
        vars(app).setdefault("extensions", {})[EXTENSION] = self

    def register_command(
        self,
        endpoint: str,
        command_name: str,
        callback_fn: CallbackFunction | None = None,
        decorators: Sequence[Decorator] = (),
    ) -> None:
        """Serve a command at the prefix followed by `endpoint`; one that is served already stays as it is.

        Args:
            command_name: The program and its first arguments, parted by single spaces; those of requests follow.
            callback_fn: Called as `(context, future)` at the end of a job, before its result can be seen; may be async.
            decorators: Wrap the endpoint, an `async` function from a Starlette request to a response; the last is the
                outermost.

        Raises:
            RuntimeError: There is no application yet.
            ValueError: The endpoint is no path, or the command is empty.
        """
        if self._engine is None or self.app is None:
            raise RuntimeError("no application yet; call init_app first")
        uri = self._prefix + endpoint
        if not _URI.fullmatch(uri):
            raise ValueError(f"endpoint = {endpoint!r}: {uri!r} is no path of letters, digits and . _ ~ - /")
        if taken := self._find_taken(uri):
            log.error("endpoint is taken, and stays as it is", extra={"uri": uri, "command": taken})
            return
        command = _build_command(uri, command_name)
        self._engine.authority.add(command.command, command.args)
        access = Access(self._engine.launcher, self._engine.app.jobs, command)
        settings = self._engine.app.settings
        policy = OriginPolicy(settings.allow_origins, settings.allow_hosts, settings.require_origin)
        starts = Starts(access, self._engine.limits, default_user=settings.user)
        door = CommandDoor(uri, OpenThreshold(self._engine.launcher, policy), access, starts)
        router = self.app.router
        router.routes.extend(door.build_routes(tuple(decorators)))
        if callback_fn is not None:
            self._engine.callbacks.add(uri, callback_fn)
        self._commands[uri] = command_name
        log.info("command registered", extra={"uri": uri, "command": command.command})

    def get_registered_commands(self) -> "OrderedDict[str, str]":
        """Return the registered commands by their paths, in the order they came."""
        return OrderedDict(self._commands)

    def _find_taken(self, uri: str) -> str:
        """Return the command that is served at `uri`, "" for none."""
        return next((name for path, name in self._commands.items() if uri in [path + end for end in ENDS]), "")

    def _build_beside(self, host: Starlette) -> App:
        """Return an application of ours that lives as long as `host` does."""
        settings, folder = self._settings or Settings(), ""
        if self._settings is None:
            folder = tempfile.mkdtemp(prefix="shell2http-")
            settings = replace(settings, state_dir=folder)
        engine_app = create_app(settings)
        remove_folder = weakref.finalize(engine_app, shutil.rmtree, folder, ignore_errors=True) if folder else None
        lifespan = host.router.lifespan_context

        @asynccontextmanager
        async def live_together(app: Any) -> AsyncIterator[Any]:
            async with engine_app.lifespan(app), lifespan(app) as state:
                yield state
            if remove_folder is not None:
                remove_folder()

        host.router.lifespan_context = live_together
        return engine_app


def _build_command(uri: str, command_name: str) -> NamedCommand:
    parts = tuple(command_name.split(" "))
    if not parts[0]:
        raise ValueError(f"command_name = {command_name!r}: begins with no command")
    return NamedCommand(name=uri, command=_locate(parts[0]), args=parts[1:], spelled=parts)


def _locate(command: str) -> str:
    """Return where a command is: on PATH, or at its own path; where it would be when it is not there yet."""
    if "/" in command:
        return posixpath.abspath(command)
    folder = os.environ.get("PATH", os.defpath).partition(":")[0]
    return shutil.which(command) or posixpath.join(posixpath.abspath(folder), command)
