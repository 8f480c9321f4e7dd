"""A session of a child that does what a test tells it to."""

import asyncio

from fake_child import FakeChild, build_session

from ws_subprocess.model import Grant
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.session import Session

LIMITS = SessionLimits(
    ring_bytes=2000,
    window_bytes=1000,
    linger_silence_s=0.5,
    linger_total_s=2.0,
    term_after_s=1.0,
    kill_after_s=2.0,
    survivors_after_s=5.0,
)
HUP, TERM = 1, 15


def start(child: FakeChild, grant: Grant = Grant(command="/bin/true")) -> Session:  # noqa: B008 - frozen
    session = build_session(child, LIMITS, grant)
    session.start()
    return session


async def tick(seconds: float = 0.01) -> None:
    """Let time pass."""
    await asyncio.sleep(seconds)
