"""Tables in the documents that are made from the code; `python tests/documents.py` writes them anew."""

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from ws_subprocess.cli.command import NOT_EXECUTABLE, NOT_FOUND
from ws_subprocess.cli.daemon import CANNOT_START
from ws_subprocess.cli.doctor import PROBLEMS_FOUND
from ws_subprocess.cli.flags import STATE_ERROR, USAGE_ERROR
from ws_subprocess.cli.main import program
from ws_subprocess.cli.run import RUN_SETTINGS, SIGNAL_BASE
from ws_subprocess.cli.token_inspect import NOT_VALID
from ws_subprocess.config.kinds import Switch
from ws_subprocess.config.settings import SETTINGS, Setting
from ws_subprocess.errors import FAULTS, REASONS
from ws_subprocess.server.lifecycle import EXIT_STATUS
from ws_subprocess.telemetry import Metrics

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("README.md", "PROTOCOL.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "docs/operating.md")

EXITS = (
    (EXIT_STATUS, "`serve`, `run`: ended by SIGTERM or SIGINT; `doctor`: no problem; the others: done"),
    (CANNOT_START, "`serve`, `run`: cannot listen, or the certificate cannot be used"),
    (PROBLEMS_FOUND, "`doctor`: a problem"),
    (NOT_VALID, "`token inspect`: the token is not valid"),
    (USAGE_ERROR, "a setting, a flag or a file cannot be used; every one is told on a line of stderr"),
    (STATE_ERROR, "`serve`: `state_dir` or `database_url` cannot be used"),
    (NOT_EXECUTABLE, "`run`: the command cannot be executed"),
    (NOT_FOUND, "`run`: there is no such command"),
    (f"{SIGNAL_BASE} + N", "`run --once`: signal N ended the command; else it is the command's own status"),
)

PROBLEMS = {
    "bad_config": "the settings file, or a file that a setting names, cannot be used",
    "bad_value": "a value is none for this setting, or two contradict each other",
    "bad_listen": "no address",
    "insecure_listen": "listening beyond this machine without TLS and without a proxy in front",
    "secret_in_argv": "a secret, or what may be one, stands where others can read it",
    "bad_user": "`user` or `group` cannot be had",
    "nofile_too_low": "not enough open files for `max_sessions`",
    "pty_max_too_low": "not enough terminals for `max_sessions`",
    "state_unusable": "`state_dir` or `database_url` cannot be used",
}


def settings_table() -> str:
    """Return a row for each setting."""
    rows = (
        (f"`{setting.key}`", _flag(setting), _default(setting), setting.kind.accepts, setting.meaning)
        for setting in SETTINGS.values()
    )
    return _table("key", "flag", "default", "accepts", "meaning", rows=rows)


def errors_table() -> str:
    """Return a row for each error code."""
    rows = ((f"`{code}`", str(fault.status), str(fault.close_code), fault.title) for code, fault in FAULTS.items())
    return _table("`code`", "status", "close", "title", rows=rows)


def reasons_table() -> str:
    """Return a row for each finer reason of the audit."""
    return _table("`reason`", "meaning", rows=((f"`{key}`", text) for key, text in REASONS.items()))


def metrics_table() -> str:
    """Return a row for each metric."""
    rows = (
        (f"`{family.name}{'_total' if family.type == 'counter' else ''}`", family.type, family.documentation)
        for family in Metrics().registry.collect()
    )
    return _table("metric", "type", "what", rows=rows)


def flags_table() -> str:
    """Return a row for each flag of each command that is no setting's."""
    commands: dict[tuple[str, str], list[str]] = {}
    for name, option, flag in list_flags():
        if option.name not in SETTINGS:
            # Who has the same flag as another shares its row.
            commands.setdefault((flag, _tidy(option.help or "")), []).append(f"`{name}`")
    rows = ((f"`{flag}`", ", ".join(names), text) for (flag, text), names in commands.items())
    return _table("flag", "of", "what", rows=rows)


def run_settings() -> str:
    """Return the settings that `run` takes as flags."""
    return ", ".join(f"`{SETTINGS[key].flag}`" for key in RUN_SETTINGS)


def exits_table() -> str:
    """Return a row for each exit status."""
    return _table("status", "when", rows=((str(status), text) for status, text in EXITS))


def problems_table() -> str:
    """Return a row for each code of what is wrong with settings."""
    return _table("code", "what is wrong", rows=((f"`{code}`", text) for code, text in PROBLEMS.items()))


def list_flags(command: click.Command = program, name: str = "") -> Iterator[tuple[str, click.Option, str]]:
    """Yield each option of a command and of those below it: the command's name, the option, its long flag."""
    for option in command.params:
        if isinstance(option, click.Option):
            yield name or "ws-subprocess", option, next(flag for flag in option.opts if flag.startswith("--"))
    for below in command.commands.values() if isinstance(command, click.Group) else ():
        yield from list_flags(below, f"{name} {below.name}".strip())


TABLES = {
    "settings": ("README.md", settings_table),
    "errors": ("PROTOCOL.md", errors_table),
    "reasons": ("PROTOCOL.md", reasons_table),
    "metrics": ("PROTOCOL.md", metrics_table),
    "flags": ("docs/operating.md", flags_table),
    "run": ("docs/operating.md", run_settings),
    "exits": ("docs/operating.md", exits_table),
    "problems": ("docs/operating.md", problems_table),
}


def read_table(document: str, name: str) -> str:
    """Return what stands between `<!-- NAME:begin ... -->` and `<!-- NAME:end -->` in the text `document`."""
    return _find(document, name)[2]


def put_table(document: str, name: str, table: str) -> str:
    """Return `document` with `table` between the marks."""
    found = _find(document, name)
    return f"{document[: found.start(2)]}{table}\n{document[found.end(2) :]}"


def _find(document: str, name: str) -> re.Match[str]:
    found = re.search(rf"(<!-- {name}:begin[^\n]*-->\n)(.*?)(<!-- {name}:end -->)", document, re.DOTALL)
    if found is None:
        raise LookupError(f"the document has no marks <!-- {name}:begin --> and <!-- {name}:end -->")
    return found


def _table(*columns: str, rows: Iterable[tuple[str, ...]]) -> str:
    lines = (columns, ("---",) * len(columns), *rows)
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _tidy(text: str) -> str:
    """Return a flag's help on one line, without what would end a cell."""
    return re.sub(r"\s+", " ", text).rstrip(".").replace("|", "\\|")


def _flag(setting: Setting) -> str:
    if isinstance(setting.kind, Switch):
        return f"`{setting.flag}`, `--no-{setting.flag.removeprefix('--')}`"
    return f"`{setting.flag}`"


def _default(setting: Setting) -> str:
    shown = setting.kind.show(setting.default)
    return f"`{shown}`" if shown else "none"


def main() -> None:
    """Write every table into its document."""
    for name, (file, make) in TABLES.items():
        path = ROOT / file
        path.write_text(put_table(path.read_text(), name, make()))


if __name__ == "__main__":
    main()
