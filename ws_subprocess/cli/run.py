"""`ws-subprocess run`: one command in a browser tab, without a controller.

Laws: only its own command line counts, neither a settings file nor the environment, so that what is shared stands where
a person reads it; whoever has no token gets nothing; stdout has the address and nothing else.
"""

import os
import secrets
import signal
import sys
import tempfile
from dataclasses import dataclass, replace
from typing import Any

import click

from ws_subprocess.cli.command import CommandError, find_command
from ws_subprocess.cli.flags import CONTEXT_SETTINGS, LongOption, exit_with, given_flags, setting_options
from ws_subprocess.cli.limits import sessions_possible
from ws_subprocess.config.load import load
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import Settings
from ws_subprocess.model import ExitStatus

# What concerns a page that a person shares for a while; all other settings keep their defaults.
RUN_SETTINGS = (
    "listen",
    "insecure_listen",
    "base_path",
    "allow_origins",
    "allow_hosts",
    "trusted_proxies",
    "tls_cert",
    "tls_key",
    "unix_mode",
    "allow_setuid",
    "drain_timeout_s",
    "compression",
    "log_format",
    "log_level",
)
LISTEN = "127.0.0.1:0"
LOG_LEVEL = "warning"
DRAIN_TIMEOUT_S = 1.0
DEFAULTS = Settings(listen=(LISTEN,), log_level=LOG_LEVEL, drain_timeout_s=DRAIN_TIMEOUT_S)
TOKEN_BYTES = 32
# Added by shells to the number of the signal that killed a command.
SIGNAL_BASE = 128
TITLE_MAX_CHARS = 256


@dataclass(frozen=True, slots=True)
class RunOptions:
    """The flags of `run` that are no settings."""

    open_browser: bool
    is_writable: bool
    once: bool
    max_clients: int | None
    title: str
    cwd: str


def _check_title(_context: click.Context, _option: click.Parameter, title: str) -> str:
    if len(title) > TITLE_MAX_CHARS or not title.isprintable():
        raise click.BadParameter(f"longer than {TITLE_MAX_CHARS} characters, or with characters that cannot be shown")
    return title


OPTIONS = [
    LongOption("--open", "open_browser", is_flag=True, help="Open the address in a browser."),
    LongOption("--writable", "is_writable", is_flag=True, help="Let clients type; without it they only look."),
    LongOption("--once", "once", is_flag=True, help="End with the first session, and with its command's exit status."),
    LongOption(
        "--max-clients",
        "max_clients",
        type=click.IntRange(1, 100_000),
        metavar="N",
        help="Sessions at a time, each with its own process  [default: 1 with --once, else what there is room for]",
    ),
    LongOption(
        "--title", "title", default="", callback=_check_title, help="Title of the page  [default: COMMAND's name]"
    ),
    LongOption(
        "--cwd",
        "cwd",
        type=click.Path(exists=True, file_okay=False, resolve_path=True),
        default=".",
        metavar="DIR",
        help="Directory that COMMAND runs in, and is looked for in if it has a slash  [default: this one]",
    ),
    *setting_options(RUN_SETTINGS, defaults=DEFAULTS),
    click.Argument(["command"], nargs=-1, required=True, metavar="-- COMMAND [ARGS]..."),
]


@click.command(context_settings=CONTEXT_SETTINGS | {"allow_interspersed_args": False}, params=OPTIONS)
def run(command: tuple[str, ...], **values: Any) -> None:
    """Serve one command on this machine and print the page's address, with a random token.

    Each client gets a process of its own. With --once the exit status is the command's, or 128 and the number of the
    signal that killed it. Status 127 says that COMMAND was not found, 126 that it cannot be executed. Reads no settings
    file and no environment.
    """
    flags = given_flags(values)
    options = RunOptions(**{key: value for key, value in values.items() if key not in RUN_SETTINGS})
    try:
        loaded = load(flags, environ={}, defaults=DEFAULTS)
    except ConfigError as exc:
        exit_with(exc.problems)
    try:
        path = find_command(command[0], options.cwd)
    except CommandError as exc:
        click.echo(f"ws-subprocess: {exc}", err=True)
        sys.exit(exc.status)
    sys.exit(_serve(loaded.settings, options, path, command[1:]))


def _serve(settings: Settings, options: RunOptions, path: str, args: tuple[str, ...]) -> int:
    """Serve the command until it is enough; return the exit status."""
    # Not at the top: `--help` must not wait for the server's packages.
    from ws_subprocess.app import Command, create_run_app
    from ws_subprocess.cli.browser import open_in_browser
    from ws_subprocess.cli.daemon import prepare, say, serve_app

    settings = replace(settings, max_sessions=_max_sessions(settings, options))
    token = secrets.token_urlsafe(TOKEN_BYTES)
    ended: list[ExitStatus] = []

    def on_session_end(status: ExitStatus) -> None:
        if not options.once:
            return
        ended.append(status)
        # The way out of who stops the daemon by hand: what is still to be sent is sent. Twice would mean "at once".
        if not app.registry.is_draining:
            signal.raise_signal(signal.SIGTERM)

    def announce(urls: list[str]) -> None:
        address = f"{urls[0]}/#token={token}"
        say(address)
        if options.open_browser:
            open_in_browser(address, folder)

    command = Command(path, args, options.cwd, options.title or os.path.basename(path), options.is_writable)
    app = create_run_app(settings, command, token, on_session_end, prepare(settings))
    with tempfile.TemporaryDirectory(prefix="ws-subprocess-") as folder:
        status = serve_app(app, settings, announce)
    return _exit_status(ended[0]) if ended else status


def _max_sessions(settings: Settings, options: RunOptions) -> int:
    if options.max_clients is not None:
        return options.max_clients
    return 1 if options.once else min(settings.max_sessions, sessions_possible())


def _exit_status(status: ExitStatus) -> int:
    """Return what a shell's `$?` would be."""
    if status.signal is not None:
        return SIGNAL_BASE + status.signal
    return status.code or 0
