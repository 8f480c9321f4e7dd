"""`ws-subprocess doctor`: whether this machine is ready for these settings, and what to do where it is not.

Laws: nothing is started, no token is sent, and nothing is written but a file in `state_dir` that is removed at once;
every finding says what was found, and each that is not well what to do.
"""

import json
import shutil
import sys
import textwrap
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from ws_subprocess.cli.config import load_or_exit
from ws_subprocess.cli.flags import CONTEXT_SETTINGS, config_option, setting_options
from ws_subprocess.config.settings import Settings

if TYPE_CHECKING:
    from ws_subprocess.cli.checks.finding import Finding

PROBLEMS_FOUND = 1
COLORS = {"ok": "green", "warning": "yellow", "problem": "red"}
STATE_WIDTH = max(map(len, COLORS))
WIDTH_MAX = 120
ARROW = "-> "


@click.command(context_settings=CONTEXT_SETTINGS, params=[config_option(), *setting_options()])
@click.option("--json", "as_json", is_flag=True, help="Print a JSON list of {check, state, found, advice}.")
def doctor(config_path: str | None, as_json: bool, **flags: Any) -> None:
    """Check whether `serve` would do well here with the same flags, and say what to do.

    Each line is ok, a warning or a problem. Exits with status 0 when there is no problem, with 1 when there is one, and
    with 2 when the settings cannot be used.
    """
    loaded = load_or_exit(config_path, flags)
    found = []
    for finding in run_checks(loaded.settings):
        found.append(finding)
        if not as_json:
            click.echo(show(finding, sys.stdout.isatty()))
    click.echo(json.dumps([asdict(finding) for finding in found], indent=2) if as_json else f"\n{sum_up(found)}")
    sys.exit(PROBLEMS_FOUND if any(finding.state == "problem" for finding in found) else 0)


def run_checks(settings: Settings) -> Iterator["Finding"]:
    """Yield what each check finds, as soon as it does."""
    # Not at the top: `--help` must not wait for the server's packages.
    from ws_subprocess.cli.checks import account, files, gate, machine, network

    for check in (
        network.check_listen,
        network.check_tls,
        network.check_exposure,
        gate.check_controller,
        gate.check_jwt_keys,
        gate.check_issuer,
        gate.check_tokens_file,
        files.check_commands_file,
        account.check_account,
        account.check_cgroups,
        machine.check_room,
        machine.check_kernel,
        machine.check_terminal_input,
        machine.check_proc,
        files.check_state_dir,
        files.check_audit_log,
        files.check_static,
    ):
        yield from check(settings)


def show(finding: "Finding", is_terminal: bool) -> str:
    """Return a finding for people: in colours and wrapped for a terminal, else on one line."""
    head = f"{finding.state:{STATE_WIDTH}}  {finding.check:12}  "
    if not is_terminal:
        return head + (f"{finding.found}; {finding.advice}" if finding.advice else finding.found)
    width = min(max(shutil.get_terminal_size().columns, len(head) + 30), WIDTH_MAX) - len(head)
    lines = _wrap(finding.found, width)
    advice = _wrap(finding.advice, width - len(ARROW)) if finding.advice else []
    lines += [
        click.style(f"{'' if index else ARROW:{len(ARROW)}}{line}", bold=True) for index, line in enumerate(advice)
    ]
    state = click.style(f"{finding.state:{STATE_WIDTH}}", fg=COLORS[finding.state], bold=finding.state != "ok")
    return f"\n{' ' * len(head)}".join([f"{state}{head[STATE_WIDTH:]}{lines[0]}", *lines[1:]])


def sum_up(found: Iterable["Finding"]) -> str:
    """Return how many findings there are of each kind."""
    counts = Counter(str(finding.state) for finding in found)
    return f"{_count(counts['problem'], 'problem')}, {_count(counts['warning'], 'warning')}, {counts['ok']} ok"


def _count(number: int, word: str) -> str:
    return f"{number} {word}{'' if number == 1 else 's'}"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]
