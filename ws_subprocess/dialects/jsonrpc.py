"""JSON-RPC 2.0 (jsonrpc.org/specification): single calls, batches and notifications. Pure.

Laws: an answer for each call that has an id, none for one that has not; what is no call is answered with the id null.
"""

import json
import math
from dataclasses import dataclass
from typing import Any

from ws_subprocess.dialects.outcomes import UNSUCCESSFUL, Fate, Outcome

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
_CODES = {
    Fate.FAILED: -32000,
    Fate.REFUSED: -32001,
    Fate.LATE: -32002,
    Fate.UNKNOWN: -32601,
    Fate.BROKEN: -32603,
}
_OWN_WORDS = {Fate.UNKNOWN: "Method not found", Fate.BROKEN: "Internal error"}


@dataclass(frozen=True, slots=True)
class Call:
    """A call; `id` is a string, a number or null, and of no meaning in a notification."""

    method: str
    params: Any
    id: Any
    is_notification: bool


def is_meant(value: Any) -> bool:
    """Tell whether a JSON value speaks JSON-RPC: an object with the key `jsonrpc`, or an array that is not empty."""
    return "jsonrpc" in value if isinstance(value, dict) else isinstance(value, list) and bool(value)


def seems_meant(body: bytes) -> bool:
    """Tell whether what cannot be parsed was probably meant to be JSON-RPC."""
    return b'"jsonrpc"' in body


def read_call(value: Any) -> Call | None:
    """Return the call that one object is, None when it is none."""
    match value:
        case {"jsonrpc": "2.0", "method": str(method)}:
            params, call_id = value.get("params"), value.get("id")
        case _:
            return None
    is_structured = "params" not in value or isinstance(params, list | dict)
    if not is_structured or not _is_id(call_id):
        return None
    return Call(method, params, call_id, "id" not in value)


def encode_outcome(outcome: Outcome, call_id: Any) -> str:
    """Return the answer to one call as JSON text.

    Raises:
        TypeError, ValueError, RecursionError: The function's message or data is no JSON.
    """
    if outcome.fate is Fate.DONE:
        return _dump({"jsonrpc": "2.0", "result": outcome.data, "id": call_id})
    message = _OWN_WORDS.get(outcome.fate) or outcome.message
    error = {"code": _CODES[outcome.fate], "message": message if isinstance(message, str) else UNSUCCESSFUL}
    if outcome.data is not None:
        error["data"] = outcome.data
    return _dump({"jsonrpc": "2.0", "error": error, "id": call_id})


def encode_parse_error() -> str:
    """Return the answer to what is no JSON."""
    return _encode_error(PARSE_ERROR, "Parse error")


def encode_invalid_request() -> str:
    """Return the answer to JSON that is no call."""
    return _encode_error(INVALID_REQUEST, "Invalid Request")


def _encode_error(code: int, message: str) -> str:
    return _dump({"jsonrpc": "2.0", "error": {"code": code, "message": message}, "id": None})


def _dump(value: Any) -> str:
    return json.dumps(value, allow_nan=False, separators=(",", ":"))


def _is_id(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    # 1e999 is infinite to Python, and JSON cannot say so.
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))
