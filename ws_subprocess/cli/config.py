"""`ws-subprocess config`: what the settings are and where each comes from, or what is wrong with them."""

import json
from typing import Any

import click

from ws_subprocess.cli.flags import CONTEXT_SETTINGS, config_option, exit_with, given_flags, setting_options
from ws_subprocess.config.load import Loaded, load
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import SETTINGS


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
    """Print `ok`, or everything that is wrong with the settings, each on a line, and exit with status 2."""
    load_or_exit(config_path, flags)
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


def _as_json(loaded: Loaded) -> str:
    rows = {key: {"value": getattr(loaded.settings, key), "origin": loaded.origins[key]} for key in SETTINGS}
    return json.dumps(rows, indent=2)


def _as_table(loaded: Loaded) -> str:
    rows = [
        (key, setting.kind.show(getattr(loaded.settings, key)) or '""', loaded.origins[key])
        for key, setting in SETTINGS.items()
    ]
    key_width, value_width = (max(len(row[column]) for row in rows) for column in (0, 1))
    return "\n".join(f"{key:{key_width}}  {value:{value_width}}  {origin}" for key, value, origin in rows)
