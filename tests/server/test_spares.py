"""Descriptors held back: what is given up can be used by others, and comes back when there is room."""

import os
import resource
from collections.abc import Iterator

import pytest

from ws_subprocess.server.spares import Spares


@pytest.fixture
def spares() -> Iterator[Spares]:
    held = Spares()
    yield held
    held.close()


def count_open() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_given_up_is_free(spares: Spares) -> None:
    before = count_open()

    assert spares.give_up()

    assert count_open() == before - 1


def test_there_is_an_end_to_giving_up(spares: Spares) -> None:
    assert sum(spares.give_up() for _ in range(100)) == 8


def test_what_was_given_up_comes_back(spares: Spares) -> None:
    before = count_open()
    while spares.give_up():
        pass

    assert spares.refill()

    assert count_open() == before


def test_as_much_comes_back_as_there_is_room_for(spares: Spares) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    while spares.give_up():
        pass
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        assert not spares.refill()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    assert not spares.give_up()
