"""Waits for conditions, sizes tests, and runs other programs to their end without holding up the test's event loop."""

import asyncio
import os
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

WAIT_S = 20.0
_POLL_S = 0.005
# How much is done of what is done many times: 1 takes minutes, 4 makes the short commands ten thousand.
SCALE = float(os.environ.get("WS_SUBPROCESS_TEST_SCALE", "1"))


def scaled(count: int) -> int:
    """Return how many of something a test does: `count` times WS_SUBPROCESS_TEST_SCALE, at least one."""
    return max(1, round(count * SCALE))


async def until(condition: Callable[[], object], what: str, timeout_s: float = WAIT_S) -> None:
    """Wait until `condition` holds; fail the test, naming `what`, when it does not in time."""
    try:
        async with asyncio.timeout(timeout_s):
            while not condition():
                await asyncio.sleep(_POLL_S)
    except TimeoutError:
        pytest.fail(f"{what}: not within {timeout_s} s")


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended and what it wrote."""

    status: int
    stdout: str
    stderr: str


@asynccontextmanager
async def started(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, cwd: str | None = None
) -> AsyncIterator[Callable[[float], "asyncio.Future[Finished]"]]:
    """Run a program for as long as the block; yield what waits for its end: call it with a limit in seconds."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        process = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, env=environ, cwd=cwd, start_new_session=True
        )

        async def finish(timeout_s: float) -> Finished:
            await until(lambda: process.poll() is not None, f"the end of {argv[0]}", timeout_s)
            assert process.returncode is not None
            texts = []
            for file in (stdout, stderr):
                file.seek(0)
                texts.append(file.read().decode(errors="replace"))
            return Finished(process.returncode, *texts)

        try:
            yield finish
        finally:
            process.kill()
            process.wait()


async def run_program(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, cwd: str | None = None, timeout_s: float = 60.0
) -> Finished:
    """Run a program to its end."""
    async with started(argv, environ, cwd) as finish:
        return await finish(timeout_s)
