"""weeRPC, the language of Flask-RPC: one JSON object asks, one answers; every refusal is an answer, too. Pure.

Law: an answer has the version that was asked for: `{"weerpc": 1.1}` or, on the older route, `{"wrpc": 1.0}`.
"""

import json
from dataclasses import dataclass
from typing import Any, TypeGuard

from ws_subprocess.dialects.outcomes import Fate, Outcome

NO_FUNCTIONS = "No functions registered."
NOT_JSON_TYPE = "Request must be JSON."
NOT_JSON = "Request must be valid JSON."


@dataclass(frozen=True, slots=True)
class Version:
    """A version of weeRPC: the key that says so, and its number."""

    key: str
    number: float


V1_0 = Version("wrpc", 1.0)
V1_1 = Version("weerpc", 1.1)


@dataclass(frozen=True, slots=True)
class Call:
    """Which function is asked for, and what it is given."""

    function: str
    data: Any


class BadCallError(ValueError):
    """What was sent is no call; the message is for the client."""


def read_call(value: Any, version: Version) -> Call:
    """Return the call that a JSON value is; keys that it does not need are ignored.

    Raises:
        BadCallError: It is none.
    """
    if not value:
        raise BadCallError("Request must not be empty.")
    if not isinstance(value, dict):
        raise BadCallError("Invalid request.")
    number = value.get(version.key)
    # JavaScript writes 1.0 as 1; to Python true is 1 as well.
    if not _is_number(number) or number != version.number:
        raise BadCallError(f"Invalid {version.key} version.")
    function = value.get("function")
    if not isinstance(function, str) or "data" not in value:
        raise BadCallError("Invalid request.")
    return Call(function, value["data"])


def encode_outcome(outcome: Outcome, version: Version) -> str:
    """Return the answer as JSON text.

    Raises:
        TypeError, ValueError, RecursionError: The function's message or data is no JSON.
    """
    envelope = build_envelope(version, outcome.fate is Fate.DONE, outcome.message, outcome.data)
    return json.dumps(envelope, allow_nan=False, separators=(",", ":"))


def encode_refusal(message: str, version: Version) -> str:
    """Return the answer to what was no call, or not to be looked at."""
    return encode_outcome(Outcome(Fate.REFUSED, message), version)


def build_envelope(version: Version, ok: bool, message: Any, data: Any) -> dict[str, Any]:
    """Return an answer."""
    return {version.key: version.number, "ok": ok, "message": message, "data": data}


def _is_number(value: Any) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)
