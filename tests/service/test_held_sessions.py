"""Sessions that no connection holds, where starting one goes wrong in a way that nobody foresaw."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from working import OWNER, REQUEST, build_app

from ws_subprocess.model import Grant, LaunchRequest
from ws_subprocess.service.held_sessions import HeldSessions
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.session import Session

GRANT = Grant("/bin/true", tty=False)


class FailingOnce(Launcher):
    """A launcher of which the first start ends in an error that is nobody's."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher
        self._has_failed = False

    @asynccontextmanager
    async def run(
        self, grant: Grant, request: LaunchRequest, prepare: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncIterator[Session]:
        if not self._has_failed:
            self._has_failed = True
            raise ZeroDivisionError
        async with self._launcher.run(grant, request, prepare) as session:
            yield session


async def test_a_start_that_breaks_is_told_to_its_caller_and_ends_nobody_else(tmp_path: Path) -> None:
    app = build_app(tmp_path)
    held = HeldSessions(FailingOnce(app._launcher))
    async with app.lifespan(app._asgi), held.serve():  # type: ignore[arg-type]
        with pytest.raises(ZeroDivisionError):
            await held.start(GRANT, REQUEST, OWNER)

        found = await held.start(GRANT, REQUEST, OWNER)
        await found.wait(found.session.finished.done, 10.0)

        assert found.session.ended is not None
