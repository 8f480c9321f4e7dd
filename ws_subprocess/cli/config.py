"""`ws-subprocess config`: what the settings are and where each comes from, or what is wrong with them.

Law: what is shown may be shown to others: no password is in it.
"""

import json
import os
from collections.abc import Iterator
from typing import Any

import click

from ws_subprocess.cli.flags import CONTEXT_SETTINGS, config_option, exit_with, given_flags, setting_options
from ws_subprocess.config.kinds import hide_password
from ws_subprocess.config.load import Loaded, load
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.settings import SETTINGS, Settings


@click.group(context_settings=CONTEXT_SETTINGS)
def config() -> None:
    """Show or check the settings that `serve` would use with the same flags and environment."""


@config.command(params=[config_option(), *setting_options()])
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object: by key its value and its origin.")
def show(config_path: str | None, as_json: bool, **flags: Any) -> None:
    """Print each setting's value and its origin: default, FILE:LINE, environment NAME, or the flag."""
    loaded = load_or_exit(config_path, flags)
    click.echo(_as_json(loaded) if as_json else _as_table(loaded))


@config.command(params=[config_option(), *setting_options()])
def check(config_path: str | None, **flags: Any) -> None:
    """Print `ok`, or everything that is wrong with the settings, each on a line, and exit with status 2.

    The files that they name are read too: keys, certificates, tokens, commands. Nobody is asked anything.
    """
    loaded = load_or_exit(config_path, flags)
    if problems := list(_find_unfit_files(loaded.settings)):
        exit_with(problems)
    click.echo("ok")


def load_or_exit(config_path: str | None, flags: dict[str, Any]) -> Loaded:
    """Return the settings after telling their warnings on stderr; exit with status 2 when they cannot be used."""
    try:
        loaded = load(given_flags(flags), config_path)
    except ConfigError as exc:
        exit_with(exc.problems)
    for warning in loaded.warnings:
        click.echo(f"ws-subprocess: warning: {warning}", err=True)
    return loaded


def _find_unfit_files(settings: Settings) -> Iterator[Problem]:
    """Yield what `serve` would find only when it builds what uses the files."""
    # Not at the top: `--help` must not wait for them.
    from ws_subprocess.authorities import build_authorities
    from ws_subprocess.config.commands_file import read_commands
    from ws_subprocess.process.environ import is_refused
    from ws_subprocess.server.settings import StartError
    from ws_subprocess.server.tls import build_context

    try:
        build_authorities(settings)
    except ConfigError as exc:
        yield from exc.problems
    try:
        if settings.commands_file:
            read_commands(settings.commands_file, os.environ, is_refused)
    except ConfigError as exc:
        yield from exc.problems
    try:
        if settings.tls_cert:
            build_context(settings.tls_cert, settings.tls_key)
    except StartError as exc:
        yield Problem("tls_cert", "bad_config", str(exc))


def _as_json(loaded: Loaded) -> str:
    rows = {key: {"value": _hide(getattr(loaded.settings, key)), "origin": loaded.origins[key]} for key in SETTINGS}
    return json.dumps(rows, indent=2)


def _hide(value: Any) -> Any:
    return hide_password(value) if isinstance(value, str) else value


def _as_table(loaded: Loaded) -> str:
    rows = [
        (key, hide_password(setting.kind.show(getattr(loaded.settings, key))) or '""', loaded.origins[key])
        for key, setting in SETTINGS.items()
    ]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{key:{key_width}}  {value:{value_width}}  {origin}" for key, value, origin in rows)
