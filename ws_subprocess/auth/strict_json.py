"""JSON from outside, read once and in one way only. Pure.

Laws: what two readers could understand differently is refused: a key that stands twice, NaN, infinity, other encodings
than UTF-8; so is what takes long to read, or is nested deeper than later readers can follow.
"""

import json
from typing import Any, NoReturn

VALUES_MAX = 50_000
DEPTH_MAX = 100
_BEGINNINGS = (b",", b"[", b"{")


def parse_json(data: bytes) -> Any:
    """Return what the JSON text `data` says; numbers too large for a float are infinite.

    Raises:
        ValueError: No JSON, more than VALUES_MAX values, or more than DEPTH_MAX lists and objects in one another. The
            text may be a secret: none of it is in the message.
    """
    _check_count(data)
    try:
        value = json.loads(data.decode("utf-8"), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        raise ValueError(type(exc).__name__) from None
    _check_depth(value)
    return value


def _check_count(data: bytes) -> None:
    """Refuse too many values, each of which follows a comma or a bracket: a few hundred thousand take 0.1 s to read."""
    if _count_beginnings(data) <= VALUES_MAX:
        return
    # They may stand in strings. Without what is escaped in these, every other part between quotes is one.
    bare = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    if bare.count(b'"') > 4 * VALUES_MAX or _count_beginnings(b"".join(bare.split(b'"')[::2])) > VALUES_MAX:
        raise ValueError("too many values")


def _count_beginnings(data: bytes) -> int:
    return sum(map(data.count, _BEGINNINGS))


def _check_depth(value: Any) -> None:
    layer, depth = [value], 0
    while layer := [item for item in layer if isinstance(item, list | dict)]:
        depth += 1
        if depth > DEPTH_MAX:
            raise ValueError("nested too deeply")
        layer = [inner for item in layer for inner in (item.values() if isinstance(item, dict) else item)]


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
