"""What every test stands on: nothing is left behind, and real processes are found by a mark in their environment."""

import asyncio
import gc
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

WAIT_S = 10.0


async def until(condition: Callable[[], object], what: str = "condition", timeout_s: float = WAIT_S) -> None:
    """Wait until a condition holds; tests wait for conditions, never for time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(0.002)
    except TimeoutError:
        pytest.fail(f"{what}: not within {timeout_s} s")


def list_descriptors() -> dict[int, str]:
    """Return this process' open descriptors and what they are."""
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        except FileNotFoundError:
            continue
    return found


def list_children() -> set[int]:
    """Return the pids of this process' children, zombies included."""
    found: set[int] = set()
    for thread in os.listdir("/proc/self/task"):
        path = Path(f"/proc/self/task/{thread}/children")
        if path.exists():
            found.update(map(int, path.read_text().split()))
    return found


def count_ptys() -> int:
    """Return how many pseudoterminals this process holds."""
    return sum(path.startswith(("/dev/ptmx", "/dev/pts/")) for path in list_descriptors().values())


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Fail a test that leaves a child, a descriptor, a pseudoterminal or a thread."""
    gc.collect()
    descriptors, children, threads = list_descriptors(), list_children(), threading.active_count()

    yield

    gc.collect()
    left = {fd: path for fd, path in list_descriptors().items() if fd not in descriptors and "eventpoll" not in path}
    assert not left, f"descriptors left open: {left}"
    assert not list_children() - children, "children left"
    assert threading.active_count() <= threads, f"threads left: {threading.enumerate()}"
