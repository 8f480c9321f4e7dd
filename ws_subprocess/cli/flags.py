"""Command-line flags, made from the table of settings: `--listen` and, as Go programs have it, `-listen`.

Law: values reach `config.load` as they were typed; nothing is read or defaulted here, so that every error has one form.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from typing import Any, NoReturn

import click

from ws_subprocess.config.kinds import Many, Switch
from ws_subprocess.config.load import CONFIG_VARIABLE
from ws_subprocess.config.problems import Problem
from ws_subprocess.config.settings import SETTINGS, Setting, Settings

CONTEXT_SETTINGS = {"help_option_names": ["-h", "--help", "-help"], "max_content_width": 120}
USAGE_ERROR = 2
STATE_ERROR = 3
DEFAULTS = Settings()


class LongOption(click.Option):
    """An option with a long name that is taken with two dashes or with one; help shows it with two.

    click takes a name of several letters with one dash for a long one, so that it cannot be mistaken for short options.
    """

    def __init__(self, names: str, key: str, **attributes: Any) -> None:
        super().__init__([names, names.replace("--", "-"), key], **attributes)

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """Return names and text for `--help`."""
        record = super().get_help_record(ctx)
        return record and (re.sub(r"(?<![\w-])-\w[\w-]*, ", "", record[0]), record[1])


def config_option() -> click.Option:
    """Return `--config`."""
    return LongOption("--config", "config_path", metavar="FILE", help=f"Settings file (TOML); else ${CONFIG_VARIABLE}")


def setting_options(keys: Iterable[str] = SETTINGS, defaults: Settings = DEFAULTS) -> list[click.Option]:
    """Return the options of the settings `keys`; `defaults` is what help says that they are by default."""
    return [_option(SETTINGS[key], getattr(defaults, key)) for key in keys]


def given_flags(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return those of click's `values` that stood on the command line and are settings."""
    return {key: value for key, value in values.items() if key in SETTINGS and value not in (None, ())}


def exit_with(problems: Iterable[Problem], status: int = USAGE_ERROR) -> NoReturn:
    """Tell each problem on a line of its own on stderr and exit."""
    for problem in problems:
        click.echo(f"ws-subprocess: {problem}", err=True)
    sys.exit(status)


def _option(setting: Setting, default_value: Any) -> click.Option:
    default = setting.kind.show(default_value) or "none"
    text = f"{setting.meaning[0].upper()}{setting.meaning[1:]}"
    if isinstance(setting.kind, Switch):
        names = f"{setting.flag}/--no-{setting.flag.removeprefix('--')}"
        return LongOption(names, setting.key, is_flag=True, default=None, help=f"{text}  [default: {default}]")
    return LongOption(
        setting.flag,
        setting.key,
        metavar=setting.kind.metavar,
        multiple=isinstance(setting.kind, Many),
        help=f"{text}  [{setting.kind.accepts}; default: {default}]",
    )
