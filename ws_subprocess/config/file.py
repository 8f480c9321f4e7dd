"""The settings file: TOML without tables, each key with the line it stands on.

Law: a file that anyone may write to, that is no regular file, or that is larger than `MAX_BYTES` is not read.
"""

import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.opening import open_at_once

MAX_BYTES = 1024 * 1024

_POSITION = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)$")
_KEY = re.compile(r"""[ \t]*(?:([A-Za-z0-9_-]+)|"([^"\n]*)"|'([^'\n]*)')""")
# What may hide a line's end or a bracket: strings of four kinds and comments; else brackets, ends of lines, the rest.
_TOKEN = re.compile(
    r'"""(?:\\.|(?!""").)*"{3,5}'
    r"|'''(?:(?!''').)*'{3,5}"
    r'|"(?:\\.|[^"\\\n])*"'
    r"|'[^'\n]*'"
    r"|\#[^\n]*"
    r"|[\[\]{}\n]"
    r"|[^\"'\#\[\]{}\n]+",
    re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A top-level key's value, as TOML has it, and the `FILE:LINE` it stands on."""

    value: object
    origin: str


def read_file(path: str) -> Mapping[str, Entry]:
    """Return the entries of the settings file at `path`.

    Raises:
        ConfigError: It cannot be read, is not to be trusted, or is not TOML; the origin has line and column where there
            are any.
    """
    text, values = read_toml(path)
    lines = dict(key_lines(text))
    return {key: Entry(value, f"{path}:{lines[key]}" if key in lines else path) for key, value in values.items()}


def read_toml(path: str) -> tuple[str, dict[str, Any]]:
    """Return the text of the TOML file at `path`, and the document that it is.

    Raises:
        ConfigError: As `read_file`.
    """
    text = _decode(path, _read_bytes(path))
    try:
        return text, tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise _syntax_error(path, text, str(exc)) from exc
    except (ValueError, RecursionError) as exc:
        raise _unusable(path, "not valid TOML: a number is too long, or brackets are nested too deeply") from exc


def key_lines(text: str) -> Iterator[tuple[str, int]]:
    """Yield each top-level key of a valid TOML document with its line, counted from 1."""
    line, depth, at_start = 1, 0, True
    for token in _TOKEN.finditer(text):
        if at_start and depth == 0 and (key := _KEY.match(text, token.start())):
            yield key[1] or key[2] or key[3] or "", line
        depth += (token[0] in ("[", "{")) - (token[0] in ("]", "}"))
        line += token[0].count("\n")
        at_start = token[0] == "\n" or (at_start and token[0].isspace())


def _read_bytes(path: str) -> bytes:
    try:
        with open(path, "rb", opener=open_at_once) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise _unusable(path, "not a regular file; name the file itself")
            if status.st_mode & stat.S_IWOTH:
                raise _unusable(path, "anyone may write to it; run `chmod o-w` on it")
            content = file.read(MAX_BYTES + 1)
    except OSError as exc:
        raise _unusable(path, f"cannot be read: {exc.strerror}; name a file that exists and is readable") from exc
    if len(content) > MAX_BYTES:
        raise _unusable(path, f"larger than {MAX_BYTES} bytes; such a file has a few lines")
    return content


def _decode(path: str, content: bytes) -> str:
    try:
        text = content.decode()
    except UnicodeDecodeError as exc:
        line, column = _place(content[: exc.start].decode())
        raise _unusable(f"{path}:{line}:{column}", "not UTF-8; save the file as UTF-8") from exc
    return text.replace("\r\n", "\n")


def _syntax_error(path: str, text: str, message: str) -> ConfigError:
    position = _POSITION.search(message)
    line, column = (position[1], position[2]) if position and position[1] else _place(text)
    reason = message[: position.start()] if position else message
    if "overwrite" in reason:
        reason = "a key stands twice; keep one of them"
    return _unusable(f"{path}:{line}:{column}", f"not valid TOML: {reason}")


def _place(before: str) -> tuple[int, int]:
    """Return line and column, from 1, of what follows `before`."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _unusable(origin: str, text: str) -> ConfigError:
    return ConfigError(Problem(origin, "bad_config", text))
