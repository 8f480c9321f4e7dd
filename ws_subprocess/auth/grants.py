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
from ws_subprocess.model import ALL_RIGHTS, DEFAULT_SIZE, SIZE_MAX, TO_WATCH, Confinement, Grant, Right, Size

PATH_MAX_BYTES = 4096
ARGS_MAX = 10_000
STRING_MAX_BYTES = 131_071  # MAX_ARG_STRLEN of Linux less its NUL: execve(2).
ENV_MAX = 256
TITLE_MAX_CHARS = 256
PRINCIPAL_MAX_CHARS = 256
SECONDS_MAX = 31_536_000
COUNT_MAX = 2**62
_ENV_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_TERM = re.compile(r"[A-Za-z0-9._+-]{1,64}")
# What useradd(8) takes; a number is no name, so that nobody becomes 0 by a back door.
_ACCOUNT = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?", re.IGNORECASE)
_UMASK = re.compile(r"0?[0-7]{3}")
_NOT_FOR_CWD = re.compile(r"//?(?:proc|dev/fd)(?:/|$)")
# TOML's 0xFFF... may have more digits than Python writes out (sys.set_int_max_str_digits).
_SHOWN_MAX_BITS = 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


@dataclass(frozen=True, slots=True)
class SingleUse:
    """That a token counts once: `key` is what is remembered of it, never itself, until `expires_at` (Unix time)."""

    key: bytes
    expires_at: float


@dataclass(frozen=True, slots=True)
class ParsedGrant:
    """A grant, the names of keys that were ignored, and whether its token is used up by it."""

    grant: Grant
    unknown_keys: tuple[str, ...] = ()
    single_use: SingleUse | None = None


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
        title=(
            _parse_text("title", given["title"], TITLE_MAX_CHARS)
            if "title" in given
            else PurePosixPath(command).name[:TITLE_MAX_CHARS]
        ),
        idle_timeout_s=_parse_seconds("idle_timeout_s", given.get("idle_timeout_s")),
        max_lifetime_s=_parse_seconds("max_lifetime_s", given.get("max_lifetime_s")),
        max_output_bytes=_parse_count("max_output_bytes", given.get("max_output_bytes")),
        rights=_parse_rights(given),
        confinement=_parse_confinement(given),
        principal=_parse_text("principal", given.get("principal", ""), PRINCIPAL_MAX_CHARS),
    )
    return ParsedGrant(grant, tuple(key for key in fields if key not in GRANT_KEYS))


def _parse_path(key: str, value: object, code: str) -> str:
    if not isinstance(value, str):
        raise _refuse("controller_bad_schema", key, value, "a string")
    if not value.startswith("/"):
        raise _refuse(code, key, value, "an absolute path")
    if _CONTROL.search(value) or len(_encode(key, value, code)) > PATH_MAX_BYTES:
        raise _refuse(code, key, value, f"at most {PATH_MAX_BYTES} bytes without control characters")
    if key == "cwd" and _NOT_FOR_CWD.match(posixpath.normpath(value)):
        # A directory below them may be one that a descriptor of the daemon has open.
        raise _refuse(code, key, value, "a directory outside /proc and /dev/fd")
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
        raise GrantError("controller_bad_env", "env TERM: not 1 to 64 of A-Z a-z 0-9 . _ + -")
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


def _parse_count(key: str, value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= COUNT_MAX:
        raise _refuse("controller_bad_schema", key, value, "a whole number, at least 1")
    return value


def _parse_text(key: str, value: object, max_chars: int) -> str:
    if not isinstance(value, str) or len(value) > max_chars or _CONTROL.search(value):
        raise _refuse("controller_bad_schema", key, value, f"at most {max_chars} characters, no control characters")
    _encode(key, value, "controller_bad_schema")
    return value


def _parse_rights(given: Mapping[str, Any]) -> frozenset[Right]:
    names = given.get("rights")
    rights = ALL_RIGHTS
    if names is not None:
        if not isinstance(names, list) or not all(isinstance(name, str) and name in ALL_RIGHTS for name in names):
            raise _refuse("controller_bad_schema", "rights", names, f"a list of {', '.join(Right)}")
        rights = frozenset(map(Right, names))
    return rights & TO_WATCH if _parse_boolean("read_only", given.get("read_only", False)) else rights


def _parse_confinement(given: Mapping[str, Any]) -> Confinement:
    return Confinement(
        user=_parse_account("user", given.get("user")),
        group=_parse_account("group", given.get("group")),
        umask=_parse_umask(given.get("umask")),
        no_new_privs=_parse_boolean("no_new_privs", given.get("no_new_privs", False)),
        memory_bytes=_parse_count("max_memory_bytes", given.get("max_memory_bytes")),
        processes=_parse_count("max_processes", given.get("max_processes")),
        cpu_s=_parse_count("max_cpu_s", given.get("max_cpu_s")),
        open_files=_parse_count("max_open_files", given.get("max_open_files")),
    )


def _parse_account(key: str, value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _ACCOUNT.fullmatch(value):
        raise _refuse("controller_bad_schema", key, value, "an account's name")
    return value


def _parse_umask(value: object) -> int | None:
    if value is None:
        return None
    if not isinstance(value, str) or not _UMASK.fullmatch(value):
        raise _refuse("controller_bad_schema", "umask", value, 'three octal digits such as "027"')
    return int(value, 8)


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
    shown = _show(value)
    if len(shown) > 80:
        shown = shown[:79] + "…"
    return GrantError(code, f"{key}: {shown} is not {wanted}")


def _show(value: object) -> str:
    if isinstance(value, list | dict):
        # What is nested may need more stack to be written out than it did to be read.
        return f"a {type(value).__name__}"
    if isinstance(value, int) and value.bit_length() > _SHOWN_MAX_BITS:
        return f"a number of {value.bit_length()} bits"
    return ascii(value)


GRANT_KEYS = frozenset(
    {
        "command",
        "args",
        "cwd",
        "env",
        "tty",
        "rows",
        "cols",
        "title",
        "idle_timeout_s",
        "max_lifetime_s",
        "max_output_bytes",
        "read_only",
        "rights",
        "principal",
        "user",
        "group",
        "umask",
        "no_new_privs",
        "max_memory_bytes",
        "max_processes",
        "max_cpu_s",
        "max_open_files",
    }
)
