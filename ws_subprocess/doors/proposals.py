"""What a client proposes to run, checked by the rules for what may be granted.

Laws: no error repeats a value that may be a secret; a program that is named without a path is looked for before anybody
is asked, so that what is decided about is what would run.
"""

import os
import posixpath
import re

from ws_subprocess.auth.grants import SECONDS_MAX, parse_grant
from ws_subprocess.errors import GrantError, RequestError
from ws_subprocess.model import Proposal
from ws_subprocess.process.environ import DEFAULT_PATH, is_refused

PATH_ENTRIES_MAX = 64
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def build_proposal(cmd: object, args: object, cwd: str | None, env: object) -> Proposal:
    """Return the proposal of these values from outside.

    Args:
        cmd: An absolute path, or a name that the PATH of `env`, or that of commands here, has.

    Raises:
        RequestError: `bad_schema` or `bad_cwd`.
    """
    command = _parse_command(cmd)
    if args is None or env is None:
        raise RequestError("bad_schema", "null is neither a list of arguments nor an environment; leave it out")
    try:
        parsed = parse_grant({"command": "/", "args": args, "cwd": cwd, "env": env}, is_refused).grant
        if "/" not in command:
            command = find_program(command, parsed.env.get("PATH", DEFAULT_PATH))
        parse_grant({"command": command}, is_refused)
    except GrantError as exc:
        raise RequestError("bad_cwd" if exc.code == "spawn_cwd" else "bad_schema", exc.detail) from exc
    return Proposal(command, parsed.args, parsed.cwd, parsed.env)


def find_program(name: str, path: str) -> str:
    """Return where `name` is to be found in `path`, as execvp(3) would look; only absolute entries count.

    Where it is not, the last place that was looked at: who decides about it may refuse it, or its start fails.
    """
    entries = [entry for entry in path.split(":")[:PATH_ENTRIES_MAX] if entry.startswith("/")] or ["/bin"]
    candidates = [posixpath.join(entry, name) for entry in entries]
    for candidate in candidates:
        if os.path.isfile(candidate) and os.access(candidate, os.X_OK):
            return candidate
    return candidates[-1]


def parse_timeout(value: object) -> float | None:
    """Return seconds, None for no limit.

    Raises:
        RequestError: `bad_timeout`.
    """
    return None if value is None else parse_seconds("timeout", value)


def parse_seconds(name: str, value: object) -> float:
    """Return a number of seconds, more than 0.

    Raises:
        RequestError: `bad_timeout`; names the field.
    """
    # NaN is within no bounds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= SECONDS_MAX:
        raise RequestError("bad_timeout", f"{name}: not a number of seconds, more than 0, at most {SECONDS_MAX}")
    return float(value)


def _parse_command(value: object) -> str:
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise RequestError("bad_schema", "cmd: not a name or an absolute path without control characters")
    if "/" in value and not value.startswith("/"):
        raise RequestError("bad_schema", "cmd: a relative path; give an absolute one, or a name that PATH has")
    return value
