"""Kinds of settings: each reads text (a flag, the environment), checks a value (TOML, Python) and shows it again. Pure.

Laws: `read(show(v)) == v`; `check(check(v)) == check(v)`; what is wrong raises ValueError with the way out.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from ws_subprocess.config.parse import BYTES_PER_UNIT, parse_duration, parse_integer, parse_size
from ws_subprocess.config.secrets import SecretInPlaceError

T = TypeVar("T")

_TRUE = ("true", "yes", "on", "1")
_FALSE = ("false", "no", "off", "0")


class WrongTypeError(ValueError):
    """A value's type is already wrong."""


class Kind(Protocol[T]):
    """How the values of one setting are read, checked, shown and described."""

    @property
    def metavar(self) -> str:
        """What `--help` shows in the value's place."""
        ...

    @property
    def accepts(self) -> str:
        """What is allowed, in words for people."""
        ...

    def read(self, text: str) -> T:
        """Return the value that `text` means."""
        ...

    def check(self, value: object) -> T:
        """Return the normal form of a value that already has a type."""
        ...

    def show(self, value: T) -> str:
        """Return the text that `read` turns into `value`."""
        ...


@dataclass(frozen=True, slots=True)
class Text:
    """A string in the normal form that `parse` gives it."""

    parse: Callable[[str], str]
    metavar: str
    accepts: str

    def read(self, text: str) -> str:
        return self.parse(text)

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise WrongTypeError(f"{_type_name(value)} instead of a string; put it in quotes")
        return self.parse(value)

    def show(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few words, in lower case."""

    words: tuple[str, ...]

    @property
    def metavar(self) -> str:
        return "|".join(self.words)

    @property
    def accepts(self) -> str:
        return ", ".join(self.words)

    def read(self, text: str) -> str:
        if text.lower() not in self.words:
            raise ValueError(f"not one of {self.accepts}")
        return text.lower()

    def check(self, value: object) -> str:
        if not isinstance(value, str):
            raise WrongTypeError(f"{_type_name(value)} instead of one of the strings {self.accepts}")
        return self.read(value)

    def show(self, value: str) -> str:
        return value


@dataclass(frozen=True, slots=True)
class Count:
    """A whole number, `low` to `high`."""

    low: int
    high: int
    metavar: str = "N"

    @property
    def accepts(self) -> str:
        return f"{self.low} to {self.high}"

    def read(self, text: str) -> int:
        return self.check(parse_integer(text))

    def check(self, value: object) -> int:
        # bool is an int to Python, but not to anyone who writes a settings file.
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongTypeError(f"{_type_name(value)} instead of a whole number from {self.accepts}")
        return _within(value, self.low, self.high, self.accepts)

    def show(self, value: int) -> str:
        return str(value)


@dataclass(frozen=True, slots=True)
class Duration:
    """Seconds, `low_s` to `high_s`; as text also with a unit."""

    low_s: float
    high_s: float
    metavar: str = "DURATION"

    @property
    def accepts(self) -> str:
        return f"{self.show(self.low_s)} to {self.show(self.high_s)}"

    def read(self, text: str) -> float:
        return self.check(parse_duration(text))

    def check(self, value: object) -> float:
        if isinstance(value, str):
            return self.read(value)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise WrongTypeError(f'{_type_name(value)} instead of seconds or a string such as "10s"')
        if isinstance(value, float) and math.isnan(value):
            raise ValueError(f"not a number of seconds from {self.accepts}")
        # Whole microseconds: finer ones mean nothing to a timer, and every value can be shown exactly.
        return round(float(_within(value, self.low_s, self.high_s, self.accepts)), 6)

    def show(self, value: float) -> str:
        return f"{value:.6f}".rstrip("0").rstrip(".") + "s"


@dataclass(frozen=True, slots=True)
class Bytes:
    """A number of bytes, `low` to `high`; as text also with a unit."""

    low: int
    high: int
    metavar: str = "SIZE"

    @property
    def accepts(self) -> str:
        return f"{self.show(self.low)} to {self.show(self.high)}"

    def read(self, text: str) -> int:
        return self.check(parse_size(text))

    def check(self, value: object) -> int:
        if isinstance(value, str):
            return self.read(value)
        if not isinstance(value, int) or isinstance(value, bool):
            raise WrongTypeError(f'{_type_name(value)} instead of bytes or a string such as "1MiB"')
        return _within(value, self.low, self.high, self.accepts)

    def show(self, value: int) -> str:
        for unit in ("GiB", "MiB", "KiB"):
            if value and value % BYTES_PER_UNIT[unit] == 0:
                return f"{value // BYTES_PER_UNIT[unit]}{unit}"
        return str(value)


@dataclass(frozen=True, slots=True)
class Switch:
    """On or off."""

    metavar: str = ""
    accepts: str = "true, false"

    def read(self, text: str) -> bool:
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise ValueError("neither true nor false")

    def check(self, value: object) -> bool:
        if not isinstance(value, bool):
            raise WrongTypeError(f"{_type_name(value)} instead of true or false")
        return value

    def show(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Many:
    """A list of texts, doubles dropped; as one text separated by commas. `least` is how many there must be."""

    item: Text
    least: int = 0

    @property
    def metavar(self) -> str:
        return self.item.metavar

    @property
    def accepts(self) -> str:
        return f"{self.item.accepts}; may be repeated"

    def read(self, text: str) -> tuple[str, ...]:
        return self.check([part for part in map(str.strip, text.split(",")) if part])

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple):
            raise WrongTypeError(f"{_type_name(value)} instead of a list; put it in square brackets")
        if len(value) < self.least:
            raise ValueError(f"empty; name at least {self.least}")
        return tuple(dict.fromkeys(self._check_item(item) for item in value))

    def show(self, value: tuple[str, ...]) -> str:
        return ",".join(value)

    def _check_item(self, item: object) -> str:
        try:
            return self.item.check(item)
        except SecretInPlaceError:
            raise  # Who repeats it here gives it away.
        except ValueError as exc:
            text = str(exc)
            raise type(exc)(text if quote(item) in text else f"{quote(item)}: {text}") from exc


def quote(value: object) -> str:
    """Return `value` for an error message: short, on one line, and without the password of a URL."""
    try:
        text = hide_password(repr(value))
    except ValueError:  # TOML's 0xFFF... may have more digits than Python writes out (sys.set_int_max_str_digits).
        return "a number of thousands of digits"
    return text if len(text) <= 100 else f"{text[:97]}..."


def hide_password(text: str) -> str:
    """Return `text` without the user and password of a URL in it."""
    return re.sub(r"//[^/]*@", "//***@", text)


N = TypeVar("N", int, float)


def _within(value: N, low: float, high: float, accepts: str) -> N:
    if not low <= value <= high:
        raise ValueError(f"not in {accepts}")
    return value


def _type_name(value: object) -> str:
    """Return the name of a value's type as TOML calls it."""
    names = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "a list", dict: "a table"}
    return names.get(type(value), f"a {type(value).__name__}")
