"""The catalogue itself: every case has a test, or a place in the list of those that cannot have one, and why."""

import importlib
from collections import Counter
from pathlib import Path

import pytest
from catalogue import CATALOGUE_FILE, deviate, read_catalogue
from deviations import DEVIATIONS, JUDGED_WRONG, OPEN

CATALOGUE = read_catalogue()
TESTS = sorted(Path(__file__).parent.glob("test_cases_*.py"))


def find_tested() -> set[str]:
    """Return the cases that some test is marked with."""
    modules = [importlib.import_module(path.stem) for path in TESTS]
    functions = [value for module in modules for name, value in vars(module).items() if name.startswith("test_")]
    marks = [mark for function in functions for mark in getattr(function, "pytestmark", [])]
    return {case_id for mark in marks if mark.name == "case" for case_id in mark.args}


def test_the_catalogue_is_whole() -> None:
    told = CATALOGUE_FILE.read_text()

    assert told.count('"id": "') == len(CATALOGUE) == 140
    assert f'"count": {len(CATALOGUE)},' in told


def test_every_case_of_the_catalogue_has_a_test() -> None:
    places = Counter([*find_tested(), *OPEN, *JUDGED_WRONG])

    assert set(CATALOGUE) - set(places) == set(), "neither tested, nor open, nor judged wrong"
    assert set(places) - set(CATALOGUE) == set(), "not in the catalogue"
    assert [case_id for case_id, count in places.items() if count > 1] == [], "tested, and said to be open or wrong"


@pytest.mark.parametrize("listed", [OPEN, JUDGED_WRONG], ids=["open", "judged wrong"])
def test_what_is_not_tested_has_a_reason(listed: dict[str, str]) -> None:
    assert [case_id for case_id, reason in listed.items() if len(reason) < 20] == []


@pytest.mark.parametrize(("case_id", "variant"), DEVIATIONS, ids=" ".join)
def test_a_deviation_deviates_and_says_why(case_id: str, variant: str) -> None:
    deviation, expect = DEVIATIONS[case_id, variant], CATALOGUE[case_id].expect

    assert case_id in find_tested()
    assert variant in "".join(path.read_text() for path in TESTS), "no test has this variant"
    assert deviation.why
    assert [name for name, value in deviation.changes.items() if getattr(expect, name) == value] == []
    assert deviate(expect, deviation) != expect
