"""The catalogue of bad input, `tests/vectors/bad_input.json`: what each case sends, and what must come of it.

    @case("HS-01")
    async def test_no_token(entry: Entry, ...) -> None: ...

Law: a test of a case takes what it expects from its entry, by the functions of `expecting`; one that does not ask its
entry fails (see `conftest.entry`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from deviations import DEVIATIONS, Deviation

CATALOGUE_FILE = Path(__file__).parents[1] / "vectors" / "bad_input.json"


@dataclass(frozen=True, slots=True)
class Expect:
    """What must come of a case.

    Attributes:
        kind: `http`, `close`, `ctrl_error`, `cli`, `tcp`, or `ok`.
        status, close, exit: The answer's status, the websocket's close code, the program's exit status.
        code: The error's code; `message` its text, "" where the catalogue does not care.
        reason: The code in the audit, where the client is told another one.
        is_plain: The answer is bare text, without a code.
    """

    kind: str
    code: str = ""
    status: int = 0
    close: int = 0
    exit: int = 0
    message: str = ""
    reason: str = ""
    is_plain: bool = False


@dataclass(slots=True)
class Entry:
    """One case, as one test holds it; `asked` counts how often the test asked what to expect."""

    id: str
    input: str
    invariant: str
    expect: Expect
    asked: int = 0

    def wants(self, kind: str, variant: str = "") -> Expect:
        """Return what is expected of a variant of the input, deviations included; it must be of that kind."""
        self.asked += 1
        deviation = DEVIATIONS.get((self.id, variant)) or DEVIATIONS.get((self.id, ""))
        wanted = self.expect if deviation is None else deviate(self.expect, deviation)
        assert wanted.kind == kind, f"{self.id}: the catalogue wants {wanted}"
        return wanted


def deviate(expect: Expect, deviation: Deviation) -> Expect:
    """Return the expectation with a deviation's fields in place of the catalogue's."""
    changed = replace(expect, **deviation.changes)
    return replace(changed, reason=expect.code) if deviation.code_is_in_audit else changed


def read_catalogue() -> Mapping[str, Entry]:
    """Return fresh entries by id."""
    cases = json.loads(CATALOGUE_FILE.read_text())["cases"]
    return {case["id"]: Entry(case["id"], case["input"], case["invariant"], Expect(**case["expect"])) for case in cases}


def case(*ids: str) -> pytest.MarkDecorator:
    """Mark a test as that of these cases: it runs once for each, with its `entry`."""
    return pytest.mark.case(*ids)
