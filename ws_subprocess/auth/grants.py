"""An authority's answer, turned into a Grant or refused as a whole. Pure.

Law: half an answer runs nothing: a known key with a wrong value refuses the grant, an unknown key is ignored; null
means left out.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

from ws_subprocess.errors import GrantError
from ws_subprocess.model import DEFAULT_SIZE, SIZE_MAX, Grant, Size

PATH_MAX_BYTES = 4096
ARGS_MAX = 10_000
STRING_MAX_BYTES = 131_071  # MAX_ARG_STRLEN of Linux less its NUL: execve(2).
ENV_MAX = 256
TITLE_MAX_CHARS = 256
SECONDS_MAX = 31_536_000
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TERM = re.compile(r"[A-Za-z0-9._+-]{1,64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class ParsedGrant:
    """A grant, and the names of keys that were ignored."""

    grant: Grant
    unknown_keys: tuple[str, ...]


def parse_grant(fields: Mapping[str, Any], is_env_refused: Callable[[str], bool]) -> ParsedGrant:
    """Return the grant that an authority's JSON object spells out.

    Raises:
        GrantError: `detail` names the key and the value.
    """
    given = {key: value for key, value in fields.items() if value is not None}
    command = _parse_path("command", given.get("command"), "controller_bad_command")
    grant = Grant(
        command=command,
        args=_parse_args(given.get("args", [])),
        cwd=_parse_path("cwd", given["cwd"], "spawn_cwd") if "cwd" in given else None,
        env=_parse_env(given.get("env", {}), is_env_refused),
        tty=_parse_boolean("tty", given.get("tty", True)),
        size=Size(
            rows=_parse_integer("rows", given.get("rows", DEFAULT_SIZE.rows)),
            cols=_parse_integer("cols", given.get("cols", DEFAULT_SIZE.cols)),
        ),
        title=_parse_title(given["title"]) if "title" in given else PurePosixPath(command).name[:TITLE_MAX_CHARS],
        idle_timeout_s=_parse_seconds("idle_timeout_s", given.get("idle_timeout_s")),
        max_lifetime_s=_parse_seconds("max_lifetime_s", given.get("max_lifetime_s")),
        read_only=_parse_boolean("read_only", given.get("read_only", False)),
    )
    return ParsedGrant(grant, tuple(key for key in fields if key not in _KNOWN_KEYS))


def _parse_path(key: str, value: object, code: str) -> str:
    if not isinstance(value, str):
        raise _refuse("controller_bad_schema", key, value, "a string")
    if not value.startswith("/"):
        raise _refuse(code, key, value, "an absolute path")
    if _CONTROL.search(value) or len(_encode(key, value, code)) > PATH_MAX_BYTES:
        raise _refuse(code, key, value, f"at most {PATH_MAX_BYTES} bytes without control characters")
    if key == "cwd" and PurePosixPath(posixpath.normpath(value)).parts[1:2] == ("proc",):
        # A directory below /proc may be one that a descriptor of the daemon has open.
        raise _refuse(code, key, value, "a directory outside /proc")
    return value


def _parse_args(value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise GrantError("controller_bad_schema", "args: not a list of strings")
    if len(value) > ARGS_MAX:
        raise GrantError("controller_too_big", f"args: {len(value)} items, at most {ARGS_MAX}")
    for index, item in enumerate(value):
        _check_string(f"args[{index}]", item, "controller_bad_schema")
    return tuple(value)


def _parse_env(value: object, is_env_refused: Callable[[str], bool]) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise GrantError("controller_bad_env", "env: not an object of strings")
    if len(value) > ENV_MAX:
        raise GrantError("controller_too_big", f"env: {len(value)} variables, at most {ENV_MAX}")
    for name, text in value.items():
        if not _ENV_NAME.fullmatch(name):
            raise _refuse("controller_bad_env", "env name", name, "letters, digits and _")
        # The value may be a secret: only its name is told.
        if not isinstance(text, str):
            raise GrantError("controller_bad_env", f"env {name}: not a string")
        if is_env_refused(name):
            raise GrantError("controller_bad_env", f"env {name}: may not be set by a grant")
        _check_string(f"env {name}", text, "controller_bad_env")
    if "TERM" in value and not _TERM.fullmatch(value["TERM"]):
        raise _refuse("controller_bad_env", "env TERM", value["TERM"], "1 to 64 of A-Z a-z 0-9 . _ + -")
    return MappingProxyType(dict(value))


def _parse_boolean(key: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse("controller_bad_schema", key, value, "true or false")
    return value


def _parse_integer(key: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= SIZE_MAX:
        raise _refuse("controller_bad_schema", key, value, f"an integer in 1..{SIZE_MAX}")
    return value


def _parse_seconds(key: str, value: object) -> float | None:
    if value is None:
        return None
    # Neither NaN nor infinity is within the bounds.
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= SECONDS_MAX:
        raise _refuse("controller_bad_schema", key, value, f"a number of seconds, more than 0, at most {SECONDS_MAX}")
    return float(value)


def _parse_title(value: object) -> str:
    if not isinstance(value, str) or len(value) > TITLE_MAX_CHARS or _CONTROL.search(value):
        raise _refuse(
            "controller_bad_schema", "title", value, f"at most {TITLE_MAX_CHARS} characters, no control characters"
        )
    _encode("title", value, "controller_bad_schema")
    return value


def _check_string(key: str, value: str, code: str) -> None:
    data = _encode(key, value, code)
    if b"\0" in data:
        raise GrantError(code, f"{key}: holds a NUL")
    if len(data) > STRING_MAX_BYTES:
        raise GrantError(code, f"{key}: {len(data)} bytes, at most {STRING_MAX_BYTES}")


def _encode(key: str, value: str, code: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise GrantError(code, f"{key}: holds half a surrogate pair") from exc


def _refuse(code: str, key: str, value: object, wanted: str) -> GrantError:
    # What is nested may need more stack to be written out than it did to be read.
    shown = f"a {type(value).__name__}" if isinstance(value, list | dict) else ascii(value)
    if len(shown) > 80:
        shown = shown[:79] + "…"
    return GrantError(code, f"{key}: {shown} is not {wanted}")


_KNOWN_KEYS = frozenset(
    {"command", "args", "cwd", "env", "tty", "rows", "cols", "title", "idle_timeout_s", "max_lifetime_s", "read_only"}
)
