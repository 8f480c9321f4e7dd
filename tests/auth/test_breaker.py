"""The circuit breaker, by a clock that the test sets."""

import pytest

from ws_subprocess.auth.breaker import FAILURES_MAX, REST_S, Breaker


def opened(now_s: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES_MAX):
        breaker.note_failure(breaker.begin(), now_s)
    return breaker


def test_it_opens_at_the_last_of_so_many_failures_in_a_row() -> None:
    breaker = Breaker()

    changes = [breaker.note_failure(breaker.begin(), 0.0) for _ in range(FAILURES_MAX)]

    assert changes == [False] * (FAILURES_MAX - 1) + [True]
    assert breaker.rest_s(0.0) == REST_S


def test_an_answer_between_failures_begins_the_count_anew() -> None:
    breaker = Breaker()
    for _ in range(3):
        for _ in range(FAILURES_MAX - 1):
            breaker.note_failure(breaker.begin(), 0.0)
        assert not breaker.note_answer(), "it was not open"

    assert breaker.rest_s(0.0) == 0.0


@pytest.mark.parametrize(("now_s", "left_s"), [(0.0, REST_S), (1.5, REST_S - 1.5), (REST_S, 0.0), (1e6, 0.0)])
def test_while_open_it_says_how_long(now_s: float, left_s: float) -> None:
    assert opened().rest_s(now_s) == left_s


def test_after_the_rest_one_question_is_let_through_and_no_other() -> None:
    breaker = opened()

    breaker.begin()

    assert breaker.rest_s(REST_S) > 0
    assert breaker.rest_s(1e6) > 0, "however long it takes"


def test_an_answer_to_the_question_that_decides_closes_it() -> None:
    breaker = opened()
    breaker.begin()

    assert breaker.note_answer()
    assert breaker.rest_s(REST_S) == 0.0


def test_a_failure_of_the_question_that_decides_opens_it_for_another_rest_without_news() -> None:
    breaker = opened()

    assert not breaker.note_failure(breaker.begin(), REST_S)
    assert breaker.rest_s(REST_S) == REST_S
    assert breaker.rest_s(2 * REST_S) == 0.0


def test_when_the_question_that_decides_is_given_up_the_next_one_decides() -> None:
    breaker = opened()

    breaker.give_up(breaker.begin())

    assert breaker.rest_s(REST_S) == 0.0
    breaker.begin()
    assert breaker.note_answer()


def test_a_question_from_before_does_not_decide() -> None:
    breaker = Breaker()
    old = breaker.begin()
    for _ in range(FAILURES_MAX):
        breaker.note_failure(breaker.begin(), 0.0)
    breaker.begin()

    breaker.give_up(old)
    assert breaker.rest_s(REST_S) > 0, "another one is still to decide"
    assert not breaker.note_failure(old, REST_S)
    assert breaker.rest_s(REST_S) < REST_S, "no new rest begins"


def test_late_failures_from_before_it_closed_do_not_open_it_again() -> None:
    breaker = Breaker()
    old = [breaker.begin() for _ in range(3 * FAILURES_MAX)]
    for question in old[:FAILURES_MAX]:
        breaker.note_failure(question, 0.0)
    breaker.begin()
    breaker.note_answer()

    assert not any(breaker.note_failure(question, REST_S) for question in old[FAILURES_MAX:])
    assert breaker.rest_s(REST_S) == 0.0


def test_a_late_answer_to_a_question_from_before_closes_it() -> None:
    breaker = opened()

    assert breaker.note_answer()
    assert breaker.rest_s(0.0) == 0.0


def test_giving_up_when_nothing_was_begun_changes_nothing() -> None:
    breaker = opened()

    breaker.give_up(None)

    assert breaker.rest_s(0.0) == REST_S
