"""What a check found, and what to do about it."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How bad it is: nothing to do, something to think about, or the daemon does not work as it is told to."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; `advice` is what to do, "" when that is nothing."""

    check: str
    state: State
    found: str
    advice: str = ""


def ok(check: str, found: str) -> Finding:
    """Return that all is well."""
    return Finding(check, State.OK, found)


def warning(check: str, found: str, advice: str) -> Finding:
    """Return what works, but may not be meant."""
    return Finding(check, State.WARNING, found, advice)


def problem(check: str, found: str, advice: str) -> Finding:
    """Return what does not work."""
    return Finding(check, State.PROBLEM, found, advice)


def problem_from(check: str, text: str) -> Finding:
    """Return the problem that an error's message tells: first what is wrong, then, after a semicolon, the way out."""
    found, _, advice = text.partition("; ")
    return problem(check, found, advice)


def show_some(names: list[str]) -> str:
    """Return the first few of `names`, for a line."""
    return ", ".join(names[:5]) + (" and others" if len(names) > 5 else "")
