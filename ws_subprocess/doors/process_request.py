"""What a client of the process door asks for, from JSON. PROTOCOL.md, "The process door".

Laws: unknown keys are ignored, a known key with a wrong value refuses the request; no error repeats a value that may be
a secret (arguments, environment, input).
"""

import base64
import binascii
import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from starlette.datastructures import Headers

from ws_subprocess.doors.bodies import get_media_type, parse_body
from ws_subprocess.doors.proposals import build_proposal, parse_timeout
from ws_subprocess.errors import RequestError
from ws_subprocess.model import Proposal

ALIAS_MAX_CHARS = 255
HEADER = "x-process"
STDIN_TYPE = "application/octet-stream"
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+={0,2}")


class Form(StrEnum):
    """How output is written: bytes as they are, or lines and events that name their stream."""

    RAW = "application/octet-stream"
    NDJSON = "application/x-ndjson"
    EVENTS = "text/event-stream"


class Stderr(StrEnum):
    """What becomes of what the command writes there: thrown away, mixed with its output, or told apart from it."""

    DROP = "drop"
    MERGE = "merge"
    SEPARATE = "separate"


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """One command that is to be run.

    Attributes:
        alias: Its name while it runs; no two have the same.
        stdin: All of its input; None when that comes as the request's body.
        timeout_s: None for no limit but the grant's.
    """

    alias: str
    proposal: Proposal
    stderr: Stderr
    stdin: bytes | None = field(repr=False)
    timeout_s: float | None


def choose_form(headers: Headers) -> Form:
    """Return the form that `Accept` names; bytes as they are when it names none."""
    accepted = {part.partition(";")[0].strip().lower() for part in headers.get("accept", "").split(",")}
    return next((form for form in (Form.NDJSON, Form.EVENTS) if form in accepted), Form.RAW)


def streams_input(headers: Headers) -> bool:
    """Tell whether the body is the command's input, and the request stands in a header.

    A page of a foreign site can send neither this type nor this header without asking (CORS preflight).
    """
    return get_media_type(headers) == STDIN_TYPE and HEADER in headers


def parse_header(headers: Headers) -> Any:
    """Return the JSON of the header `X-Process`: base64url, with or without padding.

    Raises:
        RequestError: `bad_json`.
    """
    text = headers[HEADER]
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError("odd character")
        text = text.rstrip("=")
        data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    except (ValueError, binascii.Error) as exc:
        raise RequestError("bad_json", "X-Process: not base64url of JSON") from exc
    return parse_body(data)


def parse_request(value: object, form: Form, *, has_body: bool) -> ProcessRequest:
    """Return what a request's JSON asks for.

    Args:
        has_body: The command's input comes as the body.

    Raises:
        RequestError: `bad_schema`, `bad_alias`, `bad_cwd` or `bad_timeout`; `detail` names key and way out.
    """
    if not isinstance(value, dict):
        raise RequestError("bad_schema", "not a JSON object")
    return ProcessRequest(
        alias=_parse_alias(value.get("alias")),
        proposal=build_proposal(
            value.get("cmd"), value.get("args", []), _parse_cwd(value.get("cwd", ".")), value.get("envs", {})
        ),
        stderr=_parse_stderr(value, form),
        stdin=_parse_stdin(value, has_body=has_body),
        timeout_s=parse_timeout(value.get("timeout")),
    )


def _parse_alias(value: object) -> str:
    if not isinstance(value, str) or "/" in value or not 1 <= len(value) <= ALIAS_MAX_CHARS or not value.isprintable():
        raise RequestError("bad_alias", f"alias: not a string of 1 to {ALIAS_MAX_CHARS} printable characters without /")
    return value


def _parse_cwd(value: object) -> str | None:
    """Return the directory, None for the daemon's own, which "." has always been."""
    if value == ".":
        return None
    if not isinstance(value, str) or not value.startswith("/") or ".." in value.split("/"):
        raise RequestError("bad_cwd", 'cwd: not an absolute path without "..", nor "." for the daemon\'s own')
    return value


def _parse_stderr(given: dict[str, Any], form: Form) -> Stderr:
    value = given.get("stderr", Stderr.DROP if form is Form.RAW else Stderr.SEPARATE)
    if value not in list(Stderr):
        raise RequestError("bad_schema", f"stderr: not one of {', '.join(Stderr)}")
    if value == Stderr.SEPARATE and form is Form.RAW:
        names = f"{Form.NDJSON} or {Form.EVENTS}"
        raise RequestError("bad_schema", f"stderr: separate only with Accept: {names}; plain bytes name no stream")
    return Stderr(value)


def _parse_stdin(given: dict[str, Any], *, has_body: bool) -> bytes | None:
    value = given.get("stdin")
    if value is None:
        return None if has_body else b""
    if not isinstance(value, str) or has_body:
        raise RequestError("bad_schema", "stdin: not a string, or given beside a body that is the input")
    try:
        return value.encode()
    except UnicodeEncodeError as exc:
        raise RequestError("bad_schema", "stdin: holds half a surrogate pair") from exc
