"""A controller that tests tell what to answer, and daemons that end with their test; a conftest.py imports them."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from daemon_process import DaemonProcess, StartDaemon, launch
from scripted_controller import ScriptedController, run_controller

LISTEN = ("--listen", "127.0.0.1:0")


@pytest.fixture
async def controller() -> AsyncIterator[ScriptedController]:
    """A controller that refuses every token but those that the test allows."""
    async with run_controller() as running:
        yield running


@pytest.fixture
async def launch_daemon(tmp_path: Path) -> AsyncIterator[Callable[..., DaemonProcess]]:
    """A function that starts `ws-subprocess ARGUMENTS` and does not wait; they end with the test."""
    started: list[DaemonProcess] = []

    def start(*arguments: str, **options: Any) -> DaemonProcess:
        daemon = launch(tmp_path / f"daemon{len(started)}", *arguments, **options)
        started.append(daemon)
        return daemon

    yield start
    for daemon in started:
        await daemon.end()


@pytest.fixture
async def start_daemon(launch_daemon: Callable[..., DaemonProcess], controller: ScriptedController) -> StartDaemon:
    """A function that starts `ws-subprocess serve FLAGS` on a free port, asking the test's controller, and waits."""

    async def start(*flags: str, listen: tuple[str, ...] = LISTEN, **options: Any) -> DaemonProcess:
        daemon = launch_daemon("serve", *listen, "--controller-url", controller.url, *flags, **options)
        await daemon.ready()
        return daemon

    return start
