"""Reads the arguments of a function from what a client sent. Pure.

Law: a known field with a wrong value is refused and named, an unknown one is ignored; null means left out.
"""

import base64
import binascii
import math
from collections.abc import Mapping
from typing import Any

from ws_subprocess.errors import RequestError


class Fields:
    """The fields of one object.

    Raises:
        RequestError: `bad_schema`, by every method: a field is not what it must be. The value is not in the detail.
    """

    def __init__(self, data: Any) -> None:
        if not isinstance(data, dict | None):
            raise RequestError("bad_schema", "data: not an object")
        self._given: Mapping[str, Any] = {key: value for key, value in (data or {}).items() if value is not None}

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def text(self, name: str, default: str | None = None) -> str:
        """Return a string."""
        value = self._given.get(name, default)
        if not isinstance(value, str):
            raise _wrong(name, "a string")
        return value

    def flag(self, name: str, *, default: bool) -> bool:
        """Return true or false."""
        value = self._given.get(name, default)
        if not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def count(self, name: str, least: int, most: int, default: int | None = None) -> int:
        """Return a whole number within bounds."""
        value = self._given.get(name, default)
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise _wrong(name, f"a whole number from {least} to {most}")
        return value

    def seconds(self, name: str, most: float, default: float) -> float:
        """Return a number of seconds, at least 0.

        Raises:
            RequestError: `bad_timeout`.
        """
        value = self._given.get(name, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not 0 <= value <= most:
            raise RequestError("bad_timeout", f"{name}: not a number of seconds from 0 to {most:g}")
        return float(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """Return an array of strings, () where it is left out."""
        value = self._given.get(name, [])
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong(name, "an array of strings")
        return tuple(value)

    def table(self, name: str) -> dict[str, str]:
        """Return an object whose values are strings, {} where it is left out."""
        value = self._given.get(name, {})
        if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
            raise _wrong(name, "an object whose values are strings")
        return dict(value)

    def data(self) -> bytes:
        """Return the bytes that `text` (UTF-8) or `base64` spells out, b"" where both are left out."""
        if "text" in self and "base64" in self:
            raise RequestError("bad_schema", "text, base64: give one of them")
        try:
            if "base64" in self:
                return base64.b64decode(self.text("base64"), validate=True)
            return self.text("text", "").encode()
        except UnicodeEncodeError as exc:
            raise _wrong("text", "a string without halves of surrogate pairs") from exc
        except (ValueError, binascii.Error) as exc:
            raise _wrong("base64", "base64") from exc


def _wrong(name: str, kind: str) -> RequestError:
    return RequestError("bad_schema", f"{name}: not {kind}")
