"""Files and folders: where used tokens are remembered, the commands, the audit's file, the page's own files."""

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ws_subprocess.app import needs_jobs
from ws_subprocess.authorities import needs_state
from ws_subprocess.cli.checks.finding import Finding, ok, problem, problem_from, show_some, warning
from ws_subprocess.config.commands_file import read_commands
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import Settings
from ws_subprocess.config.state import find_state_dir
from ws_subprocess.doors.pages import find_static
from ws_subprocess.opening import open_at_once
from ws_subprocess.process.environ import is_refused
from ws_subprocess.store.used_tokens import StateError, count_used_tokens, find_fault

MIB = 1024 * 1024
# Some hundred thousand used tokens.
ROOM_MIN_BYTES = 64 * MIB
# What the page cannot do without, and a checkout only has after `make`.
_TERMINAL_SCRIPT = "vendor/xterm.mjs"


def check_state_dir(settings: Settings) -> Iterator[Finding]:
    """Tell whether used tokens could be remembered."""
    if not needs_state(settings) and not needs_jobs(settings):
        yield ok("state_dir", "not needed: no token counts once, and no door keeps jobs")
        return
    folder = Path(settings.state_dir or find_state_dir())
    # Here and below not by the paths themselves, which raise where we may not look.
    yield _check_folder("state_dir", folder) if os.path.exists(folder) else _check_missing("state_dir", folder)
    try:
        count = count_used_tokens(folder)
    except StateError as exc:
        yield problem_from("state_dir", str(exc))
    else:
        if count is not None:
            yield ok("state_dir", f"{folder}: {count} used token{'' if count == 1 else 's'} remembered")


def check_commands_file(settings: Settings) -> Iterator[Finding]:
    """Tell how many commands there are, and which are not installed."""
    path = settings.commands_file
    if not path:
        yield ok("commands_file", "none")
        return
    try:
        commands = read_commands(path, os.environ, is_refused).commands
    except ConfigError as exc:
        yield from (problem_from("commands_file", f"{item.origin}: {item.text}") for item in exc.problems)
        return
    absent = sorted({item.command for item in commands if not os.access(item.command, os.X_OK)})
    if absent:
        found = f"{path}: names what cannot be executed: {show_some(absent)}"
        yield warning("commands_file", found, "install it, or correct its path")
    yield ok("commands_file", f"{path}: {len(commands)} command{'' if len(commands) == 1 else 's'}")


def check_audit_log(settings: Settings) -> Iterator[Finding]:
    """Tell whether the audit's lines could be written."""
    if not settings.audit_log:
        yield ok("audit_log", "none: its lines are in the log")
        return
    path = Path(settings.audit_log)
    try:
        # As the daemon does, but for making it.
        os.close(open_at_once(settings.audit_log, os.O_WRONLY | os.O_APPEND))
        target = path
    except OSError as exc:
        target = path.parent
        if not (isinstance(exc, FileNotFoundError) and target.is_dir() and os.access(target, os.W_OK)):
            found = f"{path}: cannot be written to: {exc.strerror}"
            yield problem("audit_log", found, "name a file in a folder that this account may use")
            return
    yield ok("audit_log", f"{path}: can be written to, {_show_room(target)}")


def check_static(settings: Settings) -> Iterator[Finding]:
    """Tell whether the page's files are there."""
    try:
        folder = find_static()
    except FileNotFoundError as exc:
        found, _, advice = str(exc).partition("; ")
        yield problem("static", found, advice)
        return
    if not (folder / _TERMINAL_SCRIPT).is_file():
        yield problem("static", f"{folder}: {_TERMINAL_SCRIPT} is missing", "build the page: make demo, or make wheel")
        return
    yield ok("static", f"{folder}: {sum(path.is_file() for path in folder.glob('*'))} files and the terminal's scripts")


def _check_folder(check: str, folder: Path) -> Finding:
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix="doctor-") as file:
            file.write(bytes(4096))
            file.flush()
            os.fsync(file.fileno())
        fault = find_fault(folder.stat())
    except OSError as exc:
        return problem(check, f"{folder}: cannot be written to: {exc.strerror}", "name a folder of this account's")
    if fault:
        return problem_from(check, f"{folder}: {fault}")
    return _judge_room(check, f"{folder}: can be written to", folder)


def _check_missing(check: str, folder: Path) -> Finding:
    parent = next(parent for parent in folder.absolute().parents if os.path.exists(parent))
    if os.path.isdir(parent) and os.access(parent, os.W_OK | os.X_OK):
        return _judge_room(check, f"{folder}: will be made in {parent}", parent)
    return problem(check, f"{folder}: cannot be made in {parent}", "make it, for the account that the daemon runs as")


def _judge_room(check: str, found: str, folder: Path) -> Finding:
    text = f"{found}, {_show_room(folder)}"
    if _count_free(folder) < ROOM_MIN_BYTES:
        return warning(check, text, "make room: when the disk is full, tokens that count once are refused")
    return ok(check, text)


def _count_free(path: Path) -> int:
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def _show_room(path: Path) -> str:
    return f"{_count_free(path) // MIB} MiB free"
