"""JSON from outside, read once and in one way only. Pure.

Law: what two readers could understand differently is refused: a key that stands twice, NaN, infinity, other encodings
than UTF-8.
"""

import json
from typing import Any, NoReturn


def parse_json(data: bytes) -> Any:
    """Return what the JSON text `data` says; numbers too large for a float are infinite.

    Raises:
        ValueError: No JSON, or nested too deeply. The text may be a secret: none of it is in the message.
    """
    try:
        return json.loads(data.decode("utf-8"), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise ValueError(type(exc).__name__) from None


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
