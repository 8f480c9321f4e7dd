"""What `serve` and `run` have in common: logging, limits, and the server until its last session has ended.

Imported when a daemon starts, not before: `--help` must not wait for the server's packages.
"""

import logging
import os
import resource
from collections.abc import Callable, Sequence

import click

from ws_subprocess.address import parse_listen
from ws_subprocess.app import App
from ws_subprocess.cli.accounts import check_account
from ws_subprocess.cli.flags import exit_with
from ws_subprocess.cli.limits import connections_possible, make_room
from ws_subprocess.config.kinds import quote
from ws_subprocess.config.problems import Problem
from ws_subprocess.config.settings import Settings
from ws_subprocess.server.lifecycle import run as run_server
from ws_subprocess.server.settings import ServerSettings, StartError
from ws_subprocess.telemetry import configure_logging

log = logging.getLogger(__name__)

CANNOT_START = 1


def prepare(settings: Settings, warnings: Sequence[str] = ()) -> int:
    """Set up logging, make room for the sessions or exit with status 2, and log what a person should know.

    Returns:
        The soft limit of open files as it was: what children get.
    """
    try:
        configure_logging(settings.log_format, settings.log_level, settings.audit_log)
    except OSError as exc:
        text = f"audit_log = {quote(settings.audit_log)}: cannot be written to: {exc.strerror}; name a file that can"
        exit_with([Problem("audit_log", "bad_value", text)])
    child_nofile, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if problems := make_room(settings.max_sessions, max_waiting=settings.max_waiting):
        exit_with(problems)
    if problems := check_account(settings.user, settings.group):
        exit_with(problems)
    for warning in warnings:
        log.warning("unknown environment variable", extra={"detail": warning})
    if os.geteuid() == 0 and not settings.user:
        log.warning("running as root: every command that is approved runs as root too")
    return child_nofile


def say(line: str) -> None:
    """Write `line` to stdout. That nobody reads it is no reason not to serve, but worth a line in the log."""
    try:
        # Past Python's buffer, which would fail again, and change the exit status, when the interpreter ends.
        os.write(1, f"{line}\n".encode())
    except OSError as exc:
        log.warning("stdout cannot be written to", extra={"reason": exc.strerror})


def _server_settings(settings: Settings) -> ServerSettings:
    """Return the server's own section of the settings."""
    return ServerSettings(
        addresses=tuple(map(parse_listen, settings.listen)),
        doors={"process": tuple(map(parse_listen, settings.process_listen))} if settings.process_listen else {},
        unix_mode=int(settings.unix_mode, 8),
        tls_cert=settings.tls_cert or None,
        tls_key=settings.tls_key or None,
        trusted_proxies=settings.trusted_proxies,
        drain_timeout_s=settings.drain_timeout_s,
        handshake_timeout_s=settings.handshake_timeout_s,
        max_waiting=min(settings.max_waiting, connections_possible(settings.max_sessions)),
        max_waiting_per_address=settings.max_waiting_per_address,
        ping_interval_s=settings.ping_interval_s,
        ping_timeout_s=settings.ping_timeout_s,
        compression=settings.compression,
        max_message_bytes=settings.max_message_bytes,
    )


def serve_app(app: App, settings: Settings, announce: Callable[[list[str]], None]) -> int:
    """Serve until a signal or the application ends it, and return the exit status.

    Args:
        announce: Called once with the addresses that can be opened now, the base path included.
    """

    def on_ready(urls: list[str]) -> None:
        addresses = [url if url.startswith("unix:") else url + settings.base_path for url in urls]
        log.info("listening", extra={"addresses": " ".join(addresses)})
        announce(addresses)

    try:
        return run_server(app, _server_settings(settings), app, on_ready)
    except StartError as exc:
        click.echo(f"ws-subprocess: {exc}", err=True)
        return CANNOT_START
