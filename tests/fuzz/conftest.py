"""A daemon to be fuzzed, and the way to what starts it."""

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

# pytest only makes a folder importable whose tests it runs.
sys.path.insert(0, str(Path(__file__).parents[1] / "system"))

from fuzzed_daemon import FuzzedDaemon, fuzzed_daemon


@pytest.fixture
async def fuzzed(tmp_path: Path) -> AsyncIterator[FuzzedDaemon]:
    """A daemon of its own process, with a controller whose answers the test decides."""
    async with fuzzed_daemon(tmp_path) as running:
        yield running
