"""What tests look at: conditions that come true, and what a process holds."""

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

WAIT_S = 10.0


async def until(condition: Callable[[], object], what: str = "condition", timeout_s: float = WAIT_S) -> None:
    """Wait until a condition holds; tests wait for conditions, never for time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():  # noqa: ASYNC110 - what is waited for happens in other processes
                await asyncio.sleep(0.002)
    except TimeoutError:
        pytest.fail(f"{what}: not within {timeout_s} s")


async def becomes_true(condition: Callable[[], Awaitable[object]], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until a condition that has to be asked for holds."""
    try:
        async with asyncio.timeout(timeout_s):
            while not await condition():  # noqa: ASYNC110 - what is waited for happens elsewhere
                await asyncio.sleep(0.01)
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
        try:
            found.update(map(int, Path(f"/proc/self/task/{thread}/children").read_text().split()))
        except (FileNotFoundError, ProcessLookupError):  # A thread that has just ended.
            continue
    return found


def count_ptys() -> int:
    """Return how many pseudoterminals this process holds."""
    return sum(path.startswith(("/dev/ptmx", "/dev/pts/")) for path in list_descriptors().values())


def is_alive(pid: int) -> bool:
    """Tell whether a process exists and is not just a zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0] not in (b"Z", b"X")
    except (FileNotFoundError, ProcessLookupError):
        return False
