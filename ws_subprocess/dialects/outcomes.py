"""What came of calling a function, in whatever language it was asked for. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

UNSUCCESSFUL = "Unsuccessful command execution."
VERSION_KEYS = ("weerpc", "wrpc")


class Fate(Enum):
    """What became of a call.

    DONE: the function succeeded. FAILED: it said that it did not. UNKNOWN: there is no such function. REFUSED: not for
    this caller. LATE: its time was up. BROKEN: it raised, or what it returned is no JSON.
    """

    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"
    REFUSED = "refused"
    LATE = "late"
    BROKEN = "broken"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a caller is told; `message` and `data` are the function's, or ours when it had no say."""

    fate: Fate
    message: Any = None
    data: Any = None


UNKNOWN = Outcome(Fate.UNKNOWN, "Invalid function.")
LATE = Outcome(Fate.LATE, "The function took too long.")
BROKEN = Outcome(Fate.BROKEN, "Internal error.")


def read_outcome(returned: Any) -> Outcome:
    """Return what a function meant by its return value.

    What `RPCResponse.success` and `.fail` build says so itself, whatever its data. Of anything else, what is true is
    the data of a success; what is not (None, False, 0, "", [], {}) is a failure, as it was in Flask-RPC.
    """
    if isinstance(returned, Outcome):
        return returned
    if isinstance(returned, Mapping) and _is_envelope(returned):
        fate = Fate.DONE if returned["ok"] else Fate.FAILED
        return Outcome(fate, returned["message"], returned["data"])
    return Outcome(Fate.DONE, data=returned) if returned else Outcome(Fate.FAILED, UNSUCCESSFUL)


def _is_envelope(value: Mapping[Any, Any]) -> bool:
    return {"ok", "message", "data"} <= value.keys() and any(key in value for key in VERSION_KEYS)
