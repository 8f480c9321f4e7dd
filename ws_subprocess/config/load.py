"""Settings from their sources: defaults < TOML file < environment < flags.

Laws: each value remembers where it came from; everything that is wrong is reported at once, also in values that a
stronger source overrides; no file is read that was not named; nobody else reads the daemon's environment.
"""

import difflib
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ws_subprocess.config.file import read_file
from ws_subprocess.config.kinds import WrongTypeError, quote
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.secrets import SecretInPlaceError
from ws_subprocess.config.settings import ENVIRONMENT_PREFIX, SETTINGS, Settings, conflicts
from ws_subprocess.opening import open_at_once

CONFIG_VARIABLE = "WS_SUBPROCESS_CONFIG"
# Children get this one; a daemon that is started inside a session inherits it.
SESSION_VARIABLE = "WS_SUBPROCESS_SESSION"
DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Loaded:
    """Valid settings, the origin of each by key (`default`, `FILE:LINE`, `environment NAME`, a flag), and warnings."""

    settings: Settings
    origins: Mapping[str, str]
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Given:
    """A value as a source has it; `is_text` when its type is still to be read from text."""

    key: str
    raw: Any
    origin: str
    is_text: bool


def load(
    flags: Mapping[str, Any],
    config_path: str | None = None,
    environ: Mapping[str, str] = os.environ,
    defaults: Settings | None = None,
) -> Loaded:
    """Return the settings that `flags`, the environment and the settings file make together.

    Args:
        flags: By key: text, a list of texts, or a boolean, as the command line had them.
        config_path: The settings file that a flag named, else `WS_SUBPROCESS_CONFIG` may name one.
        defaults: What holds where nothing is given; Settings() if None.

    Raises:
        ConfigError: With every problem of every source.
    """
    problems: list[Problem] = []
    given = [*_from_file(config_path, environ, problems), *_from_environment(environ), *_from_flags(flags)]
    default = defaults or Settings()
    values = {key: getattr(default, key) for key in SETTINGS}
    origins = dict.fromkeys(SETTINGS, DEFAULT)
    broken: set[str] = set()
    for item in given:
        try:
            values[item.key] = _read(item)
            origins[item.key] = item.origin
        except ValueError as exc:
            problems.append(_wrong_value(item, exc))
            broken.add(item.key)
    problems.extend(_contradictions(values, origins, broken))
    problems.extend(_unreadable_files(values, origins))
    problems.extend(_unfit_keys(values, origins, environ))
    if problems:
        raise ConfigError(*problems)
    return Loaded(Settings(**values), origins, tuple(_unknown_variables(environ)))


def _from_file(path: str | None, environ: Mapping[str, str], problems: list[Problem]) -> Iterator[Given]:
    """Yield what the settings file gives; what is wrong with the file as a whole goes to `problems`."""
    path = path if path is not None else environ.get(CONFIG_VARIABLE)
    if path is None:
        return
    try:
        entries = read_file(path)
    except ConfigError as exc:
        problems.extend(exc.problems)
        return
    for key, entry in entries.items():
        if key in SETTINGS:
            yield Given(key, entry.value, entry.origin, is_text=False)
        else:
            text = f"{quote(key)} is no setting{_did_you_mean(key, SETTINGS)}"
            problems.append(Problem(entry.origin, "bad_config", text))


def _from_environment(environ: Mapping[str, str]) -> Iterator[Given]:
    for setting in SETTINGS.values():
        if setting.variable in environ:
            yield Given(setting.key, environ[setting.variable], f"environment {setting.variable}", is_text=True)


def _from_flags(flags: Mapping[str, Any]) -> Iterator[Given]:
    for key, raw in flags.items():
        yield Given(key, raw, SETTINGS[key].flag, is_text=isinstance(raw, str))


def _read(item: Given) -> Any:
    kind = SETTINGS[item.key].kind
    return kind.read(item.raw) if item.is_text else kind.check(item.raw)


def _wrong_value(item: Given, reason: ValueError) -> Problem:
    text = f"{item.key} = {quote(item.raw)}: {reason}"
    if isinstance(reason, SecretInPlaceError):
        # What stands there may be the secret.
        return Problem(item.origin, "secret_in_argv", f"{item.key}: {reason}")
    if isinstance(reason, WrongTypeError):
        return Problem(item.origin, "bad_config", text)
    return Problem(item.origin, "bad_listen" if item.key in ("listen", "process_listen") else "bad_value", text)


def _contradictions(values: Mapping[str, Any], origins: Mapping[str, str], broken: set[str]) -> Iterator[Problem]:
    for conflict in conflicts(values):
        if broken.isdisjoint(conflict.keys):
            origin = next((origins[key] for key in conflict.keys if origins[key] != DEFAULT), DEFAULT)
            yield Problem(origin, conflict.code, conflict.text)


def _unreadable_files(values: Mapping[str, Any], origins: Mapping[str, str]) -> Iterator[Problem]:
    for key in (
        "tls_cert",
        "tls_key",
        "controller_ca",
        "controller_cert",
        "controller_key",
        "tokens_file",
        "commands_file",
    ):
        path = values[key]
        if not path:
            continue
        try:
            with open(path, "rb", opener=open_at_once) as file:
                is_file = stat.S_ISREG(os.fstat(file.fileno()).st_mode)
        except OSError as exc:
            text = f"{key} = {quote(path)}: cannot be read: {exc.strerror}; name a readable file"
            yield Problem(origins[key], "bad_value", text)
            continue
        if not is_file:
            # Whoever read it would wait for its writer, or for ever.
            yield Problem(origins[key], "bad_value", f"{key} = {quote(path)}: not a regular file; name the file itself")


def _unfit_keys(values: Mapping[str, Any], origins: Mapping[str, str], environ: Mapping[str, str]) -> Iterator[Problem]:
    if not values["jwt_keys"]:
        return

    # Not at the top: cryptography takes longer to import than all of ours.
    from ws_subprocess.config.signing_keys import read_keys

    try:
        read_keys(values["jwt_keys"], environ)
    except ValueError as exc:
        yield Problem(origins["jwt_keys"], "bad_config", f"jwt_keys = {exc}")


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each variable that looks like ours: other programs may set such names, so no error."""
    known = {CONFIG_VARIABLE, SESSION_VARIABLE, *(setting.variable for setting in SETTINGS.values())}
    for name in sorted(environ):
        if name.startswith(ENVIRONMENT_PREFIX) and name not in known:
            yield f"environment {quote(name)} is no setting{_did_you_mean(name, known)}"


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {near[0]}?" if near else "; `config show` lists all"
