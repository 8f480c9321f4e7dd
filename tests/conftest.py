"""What every test stands on: nothing is left behind."""

import gc
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings
from observing import list_children, list_descriptors

THREAD_END_S = 5.0

# A busy machine is slow, not wrong.
settings.register_profile("any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any machine")


def pytest_collection_finish() -> None:
    """Take what was imported out of the collector's sight: it collects twice per test."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def past_modules_are_out_of_the_collectors_sight() -> None:
    """What earlier modules left for good (reports, caches) would be walked twice per test, too."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a child, a descriptor, a pseudoterminal or a thread."""
    gc.collect()
    descriptors, children, threads = list_descriptors(), list_children(), set(threading.enumerate())

    yield

    started = set(threading.enumerate()) - threads
    for thread in started:
        thread.join(THREAD_END_S)  # A loop's worker that was told to end may take a moment.
    assert not [thread for thread in started if thread.is_alive()], "threads left"
    gc.collect()
    left = {fd: path for fd, path in list_descriptors().items() if fd not in descriptors and "eventpoll" not in path}
    assert not left, f"descriptors left open: {left}"
    assert not list_children() - children, "children left"
