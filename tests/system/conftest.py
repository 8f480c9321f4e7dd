"""A daemon that is a process of its own, with a controller that tests tell what to answer."""

import pytest
from daemon_fixtures import controller, launch_daemon, start_daemon  # noqa: F401 - pytest looks for them here
from daemon_process import DaemonProcess, StartDaemon
from javascript import chromium  # noqa: F401


@pytest.fixture
async def daemon(start_daemon: StartDaemon) -> DaemonProcess:  # noqa: F811 - the fixture of that name
    """A daemon with default settings, but patient: the controller shares a busy machine with the tests."""
    return await start_daemon("--controller-timeout", "60s")
