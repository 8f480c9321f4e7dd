"""The file of commands: TOML, one `[[command]]` each, and `[callbacks]` where clients may be called back.

Laws: a file that anyone may write to, that is no regular file, or that is too large is not read; one wrong entry spoils
the whole file, and all that is wrong is told at once.
"""

import ipaddress
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, TypeVar

from ws_subprocess.auth.grants import parse_grant
from ws_subprocess.auth.outgoing import OutgoingRules
from ws_subprocess.auth.signature import KEY_MIN_BYTES
from ws_subprocess.config.file import read_toml
from ws_subprocess.config.kinds import quote
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.secrets import parse_secret, read_secret
from ws_subprocess.errors import GrantError
from ws_subprocess.service.job import Retention
from ws_subprocess.service.named_command import NamedCommand

COMMANDS_MAX = 1000
SECONDS_MAX = 31_536_000
PRIORITY_MAX = 1000
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
# They are the ends of a command's own routes.
_TAKEN_NAMES = frozenset({"output", "input", "jobs"})

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommandsFile:
    """What the file says; `callbacks` is None where clients may not be called back."""

    commands: tuple[NamedCommand, ...]
    callbacks: OutgoingRules | None


def read_commands(path: str, environ: Mapping[str, str], is_env_refused: Callable[[str], bool]) -> CommandsFile:
    """Return what the file at `path` says.

    Args:
        environ: Where secrets may be (`env:NAME`).

    Raises:
        ConfigError: It cannot be used; has everything that is wrong with it.
    """
    _, document = read_toml(path)
    problems = [f"{key[:40]!a} is no key of the file" for key in document if key not in ("command", "callbacks")]
    commands = _parse_commands(document.get("command", []), is_env_refused, problems)
    callbacks = _parse_callbacks(document["callbacks"], environ, problems) if "callbacks" in document else None
    if problems:
        raise ConfigError(*(Problem(path, "bad_config", problem) for problem in problems))
    return CommandsFile(commands, callbacks)


def _parse_commands(
    entries: object, is_env_refused: Callable[[str], bool], problems: list[str]
) -> tuple[NamedCommand, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        problems.append("command: not a list of tables; begin each entry with [[command]]")
        return ()
    if not 1 <= len(entries) <= COMMANDS_MAX:
        problems.append(f"{len(entries)} commands, must be 1..{COMMANDS_MAX}; begin each with [[command]]")
        return ()
    found: dict[str, NamedCommand] = {}
    for index, entry in enumerate(entries, 1):
        try:
            command = _parse_command(entry, is_env_refused)
            if command.name in found:
                raise ValueError(f"name: {command.name!a} stands twice; give each command its own")
            found[command.name] = command
        except ValueError as exc:
            label = entry.get("name")
            problems.append(f"command {label!a}: {exc}" if isinstance(label, str) else f"command {index}: {exc}")
    return tuple(found.values())


def _parse_command(entry: Mapping[str, Any], is_env_refused: Callable[[str], bool]) -> NamedCommand:
    if unknown := entry.keys() - _COMMAND_KEYS:
        raise ValueError(f"{min(unknown)[:40]!a} is no key of a command; known are {', '.join(sorted(_COMMAND_KEYS))}")
    name = entry.get("name")
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name in _TAKEN_NAMES:
        raise ValueError(
            "name: not 1 to 64 of A-Z a-z 0-9 . _ - beginning with a letter or digit, nor output, input, jobs"
        )
    try:
        parsed = parse_grant(
            {key: entry[key] for key in ("command", "args", "cwd", "env") if key in entry}, is_env_refused
        )
    except GrantError as exc:
        raise ValueError(exc.detail) from exc
    grant = parsed.grant
    return NamedCommand(
        name=name,
        command=grant.command,
        args=grant.args,
        spelled=(grant.command, *grant.args),
        cwd=grant.cwd,
        env=MappingProxyType(dict(grant.env)),
        timeout_s=_take(entry, "timeout_s", _parse_seconds, None),
        max_running=_take(entry, "max_running", _parse_count, None),
        priority=_take(entry, "priority", _parse_priority, 0),
        retention=_take(entry, "retention", _parse_retention, Retention.ONCE),
        ttl_s=_take(entry, "ttl_s", _parse_seconds, None),
        allow_args=_take(entry, "allow_args", _parse_boolean, True),
        allow_files=_take(entry, "allow_files", _parse_boolean, True),
    )


_COMMAND_KEYS = frozenset(NamedCommand.__dataclass_fields__) - {"spelled"}


def _take(entry: Mapping[str, Any], key: str, parse: Callable[[object], T], default: T) -> T:
    if key not in entry:
        return default
    try:
        return parse(entry[key])
    except ValueError as exc:
        raise ValueError(f"{key} = {quote(entry[key])}: {exc}") from exc


def _parse_seconds(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= SECONDS_MAX:
        raise ValueError(f"not a number of seconds, more than 0, at most {SECONDS_MAX}")
    return float(value)


def _parse_count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 10_000:
        raise ValueError("not a whole number in 1..10000")
    return value


def _parse_priority(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -PRIORITY_MAX <= value <= PRIORITY_MAX:
        raise ValueError(f"not a whole number in -{PRIORITY_MAX}..{PRIORITY_MAX}")
    return value


def _parse_retention(value: object) -> Retention:
    if not isinstance(value, str) or value not in tuple(Retention):
        raise ValueError('neither "once" nor "keep"')
    return Retention(value)


def _parse_boolean(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError("neither true nor false")
    return value


def _parse_callbacks(table: object, environ: Mapping[str, str], problems: list[str]) -> OutgoingRules | None:
    if not isinstance(table, dict):
        problems.append("callbacks: not a table; begin it with [callbacks]")
        return None
    try:
        if unknown := table.keys() - _CALLBACK_KEYS:
            raise ValueError(f"{min(unknown)[:40]!a} is no key; known are {', '.join(sorted(_CALLBACK_KEYS))}")
        return OutgoingRules(
            hmac_key=_read_key(table.get("hmac_key"), environ),
            ports=frozenset(_take(table, "ports", _parse_ports, [443])),
            http_hosts=frozenset(_parse_hosts(table.get("http_hosts", []))),
            networks=_take(table, "networks", _parse_networks, ()),
        )
    except ValueError as exc:
        problems.append(f"callbacks: {exc}")
        return None


_CALLBACK_KEYS = frozenset({"hmac_key", "ports", "http_hosts", "networks"})


def _read_key(reference: object, environ: Mapping[str, str]) -> bytes:
    if not isinstance(reference, str) or not reference:
        raise ValueError("hmac_key: missing; name the key that callbacks are signed with, as in file:/path/of/it")
    key = read_secret(parse_secret(reference), environ)
    if len(key) < KEY_MIN_BYTES:
        raise ValueError(f"hmac_key: {len(key)} bytes, at least {KEY_MIN_BYTES}; make one with `openssl rand -hex 32`")
    return key


def _parse_ports(value: object) -> list[int]:
    if not isinstance(value, list) or not value or not all(type(port) is int and 1 <= port <= 65535 for port in value):
        raise ValueError("not a list of ports, as in [443]")
    return value


def _parse_hosts(value: object) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(host, str) and host for host in value):
        raise ValueError(f"http_hosts = {quote(value)}: not a list of host names that may be called without TLS")
    return [host.lower() for host in value]


def _parse_networks(value: object) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ValueError('not a list of networks, as in ["10.1.0.0/16"]')
    return tuple(ipaddress.ip_network(text) for text in value)
