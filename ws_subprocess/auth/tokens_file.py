"""The file of static tokens: TOML, one `[[token]]` each, with the token's hash in its place.

Laws: the file holds no token, and no message repeats what stands where a hash should; a file that anyone may write to,
that is no regular file, or that is larger than `FILE_MAX_BYTES` is not read; one wrong entry spoils the whole file.
"""

import datetime
import difflib
import os
import re
import stat
import time
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from ws_subprocess.auth.gate import EnvironmentRule
from ws_subprocess.auth.grants import GRANT_KEYS, parse_grant
from ws_subprocess.auth.proposals import ANY_COMMAND, Allowed, parse_allow
from ws_subprocess.errors import GrantError
from ws_subprocess.model import Credentials
from ws_subprocess.opening import open_at_once

FILE_MAX_BYTES = 1024 * 1024
TOKENS_MAX = 10_000
TOKEN_MIN_CHARS = 32
NAME_MAX_CHARS = 64
PROBLEMS_MAX = 20
_HASH = re.compile(r"sha256:([0-9a-fA-F]{64})")
_DOOR = re.compile(r"[a-z][a-z0-9_-]{0,31}")
# Two writes within one tick of the kernel's clock (at most 10 ms) leave the same times behind.
_TICK_S = 0.05

T = TypeVar("T")
Version = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class StaticToken:
    """One entry. `fields` are its grant keys; from `expires_at` on (Unix time) it is refused."""

    name: str
    doors: frozenset[str]
    expires_at: float | None
    fields: Mapping[str, Any]
    allow: tuple[Allowed, ...]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one reading of the file gave: `tokens` by the SHA-256 of each, or `problems`, at most `PROBLEMS_MAX`.

    `version` changes with the file, None when it could not be opened. `is_settled` is False when the file may still
    change without its version changing, or when it could not be read this time: it is to be read again then.
    """

    version: Version | None
    is_settled: bool
    tokens: Mapping[bytes, StaticToken]
    problems: tuple[str, ...] = ()


def show_hash(token: str) -> str:
    """Return the value of an entry's key `hash` for `token`."""
    return f"sha256:{Credentials(token).token_hash.hex()}"


def read_tokens(path: str, is_env_refused: EnvironmentRule, clock: Callable[[], float] = time.time) -> Reading:
    """Return what the file at `path` says now. Blocks: a file of `TOKENS_MAX` entries takes up to a second."""
    try:
        with open(path, "rb", opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            # After this, before it is read: whoever writes meanwhile leaves other times behind, or those of this tick.
            now = clock()
            problem = _find_fault(status)
            content = b"" if problem else file.read(FILE_MAX_BYTES + 1)
    except OSError as exc:
        text = f"cannot be read: {exc.strerror}; name a file that exists and is readable"
        return Reading(None, False, {}, (text,))
    is_settled = not 0 <= now - status.st_ctime < _TICK_S
    if problem:
        return Reading(version_of(status), is_settled, {}, (problem,))
    tokens, problems = _parse_file(content, is_env_refused)
    return Reading(version_of(status), is_settled, {} if problems else tokens, _shorten(problems))


def version_of(status: os.stat_result) -> Version:
    """Return what tells two versions of a file apart, a change of its mode included."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _find_fault(status: os.stat_result) -> str:
    # Anyone may read it: who knows the hash of 32 random characters does not know them.
    if not stat.S_ISREG(status.st_mode):
        return "not a regular file; name the file of tokens itself"
    if status.st_mode & stat.S_IWOTH:
        return "anyone may write to it; run `chmod o-w` on it"
    return ""


def _shorten(problems: list[str]) -> tuple[str, ...]:
    if len(problems) <= PROBLEMS_MAX:
        return tuple(problems)
    return (*problems[: PROBLEMS_MAX - 1], f"and {len(problems) - PROBLEMS_MAX + 1} problems more")


def _parse_file(content: bytes, is_env_refused: EnvironmentRule) -> tuple[dict[bytes, StaticToken], list[str]]:
    if len(content) > FILE_MAX_BYTES:
        return {}, [f"larger than {FILE_MAX_BYTES} bytes, room for some thousand tokens; use signed ones for so many"]
    try:
        document = tomllib.loads(content.decode().replace("\r\n", "\n"))
    except UnicodeDecodeError as exc:
        line = content.count(b"\n", 0, exc.start) + 1
        return {}, [f"line {line}: not UTF-8; save the file as UTF-8"]
    except (ValueError, RecursionError) as exc:
        return {}, [f"not valid TOML: {exc}"]
    entries = document.pop("token", [])
    problems = [_unknown(key, ("token",), "the file") for key in document]
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        return {}, [*problems, "token: not a list of tables; begin each entry with [[token]]"]
    if len(entries) > TOKENS_MAX:
        return {}, [*problems, f"{len(entries)} entries, at most {TOKENS_MAX}"]
    tokens = _parse_entries(entries, is_env_refused, problems)
    return tokens, problems


def _parse_entries(
    entries: list[dict[str, Any]], is_env_refused: EnvironmentRule, problems: list[str]
) -> dict[bytes, StaticToken]:
    tokens: dict[bytes, StaticToken] = {}
    first_with: dict[object, int] = {}
    for number, entry in enumerate(entries, 1):
        name = entry.get("name")
        label = f"token {number} ({name[:NAME_MAX_CHARS]!a})" if isinstance(name, str) else f"token {number}"
        wrong: list[str] = []
        token, digest = _parse_entry(entry, is_env_refused, wrong)
        for key, value in (("name", name), ("hash", digest)):
            if value is not None and (first := first_with.setdefault((key, value), number)) != number:
                wrong.append(f"{key}: the same as of token {first}; each has its own")
        problems.extend(f"{label}: {text}" for text in wrong)
        if token is not None and digest is not None:
            tokens[digest] = token
    return tokens


def _parse_entry(
    entry: Mapping[str, Any], is_env_refused: EnvironmentRule, problems: list[str]
) -> tuple[StaticToken | None, bytes | None]:
    """Return the token and its digest, None for what cannot be made out; what is wrong goes to `problems`."""
    name = _read(entry, "name", _parse_name, problems)
    digest = _read(entry, "hash", _parse_hash, problems)
    doors = _read(entry, "doors", _parse_doors, problems)
    expires_at = _read(entry, "expires", _parse_expiry, problems)
    allow = _parse_allow(entry, doors, problems)
    fields = _parse_fields(entry, is_env_refused, problems)
    if fields.get("command") is None and not entry.get("allow"):
        problems.append("command: missing, and so is allow; say what may run")
    if problems or name is None or doors is None:
        return None, digest
    return StaticToken(name, doors, expires_at, {**fields, "principal": name}, allow), digest


def _read(entry: Mapping[str, Any], key: str, parse: Callable[[object], T], problems: list[str]) -> T | None:
    try:
        return parse(entry.get(key))
    except ValueError as exc:
        problems.append(f"{key}: {exc}")
        return None


def _parse_allow(entry: Mapping[str, Any], doors: frozenset[str] | None, problems: list[str]) -> tuple[Allowed, ...]:
    if "allow" not in entry:
        return ()
    try:
        allow = parse_allow(entry["allow"])
    except GrantError as exc:
        problems.append(exc.detail)
        return ()
    elsewhere = {item.door for item in allow} - doors if doors is not None else ()
    problems.extend(f"allow: the door {door[:40]!a} is not among its doors; add it to them" for door in elsewhere)
    return allow


def _parse_fields(entry: Mapping[str, Any], is_env_refused: EnvironmentRule, problems: list[str]) -> dict[str, Any]:
    """Return the entry's grant keys; the principal is its name."""
    known = GRANT_KEYS - {"principal"} | _OWN_KEYS
    problems.extend(_unknown(key, known, "a token") for key in entry if key not in known)
    fields = {key: value for key, value in entry.items() if key in known - _OWN_KEYS}
    try:
        parse_grant({"command": ANY_COMMAND, **fields}, is_env_refused)
    except GrantError as exc:
        problems.append(exc.detail)
    return fields


_OWN_KEYS = frozenset({"name", "hash", "doors", "expires", "allow"})


def _parse_name(value: object) -> str:
    if not isinstance(value, str) or not 1 <= len(value) <= NAME_MAX_CHARS or not value.isprintable():
        raise ValueError(f"not 1 to {NAME_MAX_CHARS} printable characters; the audit shows it")
    return value


def _parse_hash(value: object) -> bytes:
    match = _HASH.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        # Not repeated: it may be the token.
        raise ValueError("not sha256: and 64 hexadecimal digits; `ws-subprocess token hash` prints it")
    return bytes.fromhex(match[1])


def _parse_doors(value: object) -> frozenset[str]:
    if not isinstance(value, list) or not value:
        raise ValueError('not a list of doors; write where it may be used, as in ["terminal"]')
    for door in value:
        if not isinstance(door, str) or not _DOOR.fullmatch(door):
            raise ValueError('not the names of doors; write them as in ["terminal"]')
    return frozenset(value)


def _parse_expiry(value: object) -> float | None:
    match value:
        case None:
            return None
        case datetime.datetime() if value.tzinfo is not None:
            return value.timestamp()
        case datetime.datetime():
            raise ValueError(f"{value.isoformat()} has no offset; write it with Z or +01:00 at its end")
        case datetime.date():
            midnight = datetime.time(tzinfo=datetime.UTC)
            return datetime.datetime.combine(value, midnight).timestamp()
        case _:
            raise ValueError("not a date; write 2027-01-01 or 2027-01-01T12:00:00Z, without quotes")


def _unknown(key: str, known: Iterable[str], what: str) -> str:
    near = difflib.get_close_matches(key, known, n=1)
    hint = f"; did you mean {near[0]}?" if near else ""
    return f"{key[:40]!a} is no key of {what}{hint}"
