"""What a client asks of a named command: the fields of its JSON. Pure.

Law: a field that is known and cannot be used refuses the request; unknown ones are ignored, as they always were.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeVar

from ws_subprocess.auth.grants import ARGS_MAX, STRING_MAX_BYTES
from ws_subprocess.doors.proposals import parse_seconds
from ws_subprocess.errors import RequestError
from ws_subprocess.service.job import Retention

PRIORITY_MIN = -1000
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class CommandRequest:
    """One request to run a command.

    Attributes:
        timeout_s: None for the command's own.
        has_own_key: A key of its own is made for the job, so that it may run beside its like.
        stdin: What the command reads, then end of file; None for nothing.
        takes_input: Its input stays open for more.
        priority: At most 0: nobody may push himself forward.
    """

    args: tuple[str, ...] = ()
    timeout_s: float | None = None
    has_own_key: bool = False
    context: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    stdin: bytes | None = field(default=None, repr=False)
    takes_input: bool = False
    retention: Retention | None = None
    priority: int = 0
    callback_url: str = ""


def parse_command_request(fields: object) -> CommandRequest:
    """Return what the JSON value of a request asks for.

    Raises:
        RequestError: `bad_schema` or `bad_timeout`; names the field.
    """
    if not isinstance(fields, dict):
        raise _refuse("body", 'an object such as {"args": ["-l"]}')
    return CommandRequest(
        args=_take(fields, "args", _parse_args, ()),
        timeout_s=_take(fields, "timeout", parse_seconds, None),
        has_own_key=_take(fields, "force_unique_key", _parse_boolean, False),
        context=_take(fields, "callback_context", _parse_object, MappingProxyType({})),
        stdin=_parse_stdin(fields),
        takes_input=_take(fields, "keep_stdin", _parse_boolean, False),
        retention=_take(fields, "retention", _parse_retention, None),
        priority=_take(fields, "priority", _parse_priority, 0),
        callback_url=_take(fields, "callback_url", _parse_text, ""),
    )


def parse_idempotency_key(values: list[str]) -> str:
    """Return the header's value, "" when it is not given.

    Raises:
        RequestError: `bad_request`.
    """
    if not values:
        return ""
    if len(values) > 1 or not _IDEMPOTENCY_KEY.fullmatch(values[0]):
        raise RequestError("bad_request", "Idempotency-Key: not one value of 1 to 255 printable ASCII characters")
    return values[0]


def find_file_names(args: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names of files that arguments stand for: `@name`.

    Raises:
        RequestError: There are none.
    """
    names = tuple(dict.fromkeys(arg[1:] for arg in args if arg.startswith("@")))
    if not names:
        detail = "No filename(s) specified. Please prefix file argument(s) with @ character."
        raise RequestError("bad_multipart", detail)
    return names


def _take(fields: Mapping[str, Any], name: str, parse: Callable[[str, object], T], default: T) -> T:
    return parse(name, fields[name]) if name in fields else default


def _parse_args(name: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise _refuse(name, "a list of strings")
    if len(value) > ARGS_MAX:
        raise _refuse(name, f"a list of at most {ARGS_MAX}")
    for index, item in enumerate(value):
        try:
            length = len(item.encode())
        except UnicodeEncodeError as exc:
            raise _refuse(f"{name}[{index}]", "text: holds half a surrogate pair") from exc
        if "\0" in item or length > STRING_MAX_BYTES:
            raise _refuse(f"{name}[{index}]", f"at most {STRING_MAX_BYTES} bytes without NUL")
    return tuple(value)


def _parse_boolean(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise _refuse(name, "true or false")
    return value


def _parse_object(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _refuse(name, "an object")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        # Whoever is called back could not read it.
        raise _refuse(name, "an object with finite numbers") from None
    return value


def _parse_stdin(fields: Mapping[str, Any]) -> bytes | None:
    if "stdin" in fields and "stdin_b64" in fields:
        raise _refuse("stdin", "given together with stdin_b64")
    if "stdin" in fields:
        return _encode("stdin", _parse_text("stdin", fields["stdin"]))
    if "stdin_b64" not in fields:
        return None
    try:
        return base64.b64decode(_parse_text("stdin_b64", fields["stdin_b64"]).encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError) as exc:
        raise _refuse("stdin_b64", "base64") from exc


def _parse_retention(name: str, value: object) -> Retention:
    if not isinstance(value, str) or value not in tuple(Retention):
        raise _refuse(name, '"once" or "keep"')
    return Retention(value)


def _parse_priority(name: str, value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not PRIORITY_MIN <= value <= 0:
        raise _refuse(name, f"a whole number in {PRIORITY_MIN}..0")
    return value


def _parse_text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise _refuse(name, "a string")
    return value


def _encode(name: str, text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as exc:
        raise _refuse(name, "text: holds half a surrogate pair") from exc


def _refuse(name: str, expected: str) -> RequestError:
    return RequestError("bad_schema", f"{name}: not {expected}")
