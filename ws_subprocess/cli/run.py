"""`ws-subprocess run`: one command in a browser tab, without a controller."""

import sys
from dataclasses import replace
from typing import Any

import click

from ws_subprocess.cli.flags import CONTEXT_SETTINGS, LongOption, exit_with, given_flags, setting_options
from ws_subprocess.config.load import load
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import Settings

# What concerns a page that one person shares for a while; the rest keeps its defaults.
RUN_SETTINGS = (
    "listen",
    "base_path",
    "allow_origins",
    "allow_hosts",
    "trusted_proxies",
    "tls_cert",
    "tls_key",
    "unix_mode",
    "drain_timeout_s",
    "compression",
    "metrics",
    "log_format",
    "log_level",
)
RUN_DEFAULTS = {"listen": "127.0.0.1:0", "log_level": "warning", "metrics": "off"}
TITLE_MAX_CHARS = 256


def _check_title(ctx: click.Context, option: click.Parameter, title: str) -> str:
    if len(title) > TITLE_MAX_CHARS or not (title.isprintable()):
        raise click.BadParameter(f"{title[:40]!r} is longer than {TITLE_MAX_CHARS} or has control characters")
    return title


@click.command(
    context_settings=CONTEXT_SETTINGS | {"allow_interspersed_args": False},
    params=[
        LongOption("--open", "open_browser", is_flag=True, help="Open the address in a browser."),
        LongOption("--writable", "is_writable", is_flag=True, help="Let clients type; else they may only look."),
        LongOption("--once", "once", is_flag=True, help="End after the first session, with the command's exit status."),
    ],
)
def run() -> None: ...
