"""What the tests of the catalogue share: helpers of the other tests, entries, daemons, and the tally at the end."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import uvloop

# What drives daemons stands beside the tests that need it most.
sys.path[:0] = [str(Path(__file__).parents[1] / name) for name in ("doors", "http", "server", "system", "cli")]

from catalogue import Entry, read_catalogue  # noqa: E402
from daemon import Daemon, run_daemon  # noqa: E402
from daemon_fixtures import controller, launch_daemon, start_daemon  # noqa: E402, F401 - pytest looks for them here
from deviations import JUDGED_WRONG, OPEN  # noqa: E402
from expecting import Audit, listen_to_audit  # noqa: E402
from http_asking import settings_with_callbacks  # noqa: E402
from http_daemon import HttpDaemon, run_http_daemon  # noqa: E402
from uvloops import libuv_is_warm  # noqa: E402, F401


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "case(*ids): a test of these cases of tests/vectors/bad_input.json")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test of several cases once for each."""
    ids = [case_id for mark in metafunc.definition.iter_markers("case") for case_id in mark.args]
    if ids:
        metafunc.parametrize("entry", ids, indirect=True)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let each report tell which case it is about."""
    for item in items:
        if item.get_closest_marker("case") is not None:
            item.user_properties.append(("case", item.callspec.params["entry"]))  # type: ignore[attr-defined]


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say how many cases hold, and which are open or judged wrong."""
    outcomes = {
        outcome: {
            case_id
            for report in terminalreporter.stats.get(outcome, [])
            for name, case_id in getattr(report, "user_properties", [])
            if name == "case"
        }
        for outcome in ("passed", "failed", "error")
    }
    failed = outcomes["failed"] | outcomes["error"]
    if not (failed or outcomes["passed"]):
        return
    terminalreporter.section("bad-input catalogue")
    terminalreporter.line(
        f"bad-input catalogue: {len(read_catalogue())} cases, {len(outcomes['passed'] - failed)} tested and held, "
        f"{len(failed)} failed, {len(JUDGED_WRONG)} judged wrong, {len(OPEN)} open"
    )
    for what, listed in (("judged wrong", JUDGED_WRONG), ("open", OPEN)):
        for reason in dict.fromkeys(listed.values()):
            ids = " ".join(case_id for case_id in listed if listed[case_id] == reason)
            terminalreporter.line(f"  {what}: {ids}: {reason}")


def pytest_asyncio_loop_factories(item: pytest.Item) -> dict[str, Callable[[], Any]]:
    """Serve on uvloop, as the daemon does, where the daemon is in this process."""
    is_here = {"start", "open_doors"} & set(getattr(item, "fixturenames", ()))
    return {"uvloop": uvloop.new_event_loop} if is_here else {"asyncio": asyncio.new_event_loop}


@pytest.fixture
def entry(request: pytest.FixtureRequest) -> Iterator[Entry]:
    """The test's entry of the catalogue; a test that never asks it what to expect proves nothing."""
    found = read_catalogue()[request.param]
    yield found
    assert found.asked, f"{found.id}: the test did not look at what the catalogue expects"


@pytest.fixture
def audit(caplog: pytest.LogCaptureFixture) -> Audit:
    """The audit's lines of a daemon in this process."""
    return listen_to_audit(caplog)


@pytest_asyncio.fixture
async def start() -> AsyncIterator[Callable[..., Awaitable[Daemon]]]:
    """Return a function that starts a daemon in this process, with settings as keywords."""
    async with AsyncExitStack() as stack:
        yield lambda **settings: stack.enter_async_context(run_daemon("ours", **settings))


@pytest_asyncio.fixture
async def daemon(start: Callable[..., Awaitable[Daemon]]) -> Daemon:
    """A daemon in this process with the default settings."""
    return await start()


@pytest_asyncio.fixture
async def open_doors(tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[HttpDaemon]]]:
    """Return a function that starts a daemon in this process whose HTTP doors are all open."""
    async with AsyncExitStack() as stack:

        def start(**settings: Any) -> Awaitable[HttpDaemon]:
            return stack.enter_async_context(run_http_daemon("ours", **settings_with_callbacks(tmp_path) | settings))

        yield start


@pytest_asyncio.fixture
async def doors(open_doors: Callable[..., Awaitable[HttpDaemon]]) -> HttpDaemon:
    """A daemon in this process whose HTTP doors are all open, with the default settings."""
    return await open_doors()
