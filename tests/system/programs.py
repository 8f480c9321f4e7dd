"""Runs other programs to their end without holding up the test's event loop."""

import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from observing import until


@dataclass(frozen=True, slots=True)
class Finished:
    """How a program ended and what it wrote."""

    status: int
    stdout: str
    stderr: str


async def run_program(
    argv: Sequence[str], environ: Mapping[str, str] | None = None, cwd: Path | None = None, timeout_s: float = 60.0
) -> Finished:
    """Run a program to its end, with nothing to read; fail the test when it takes longer."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        with _running(argv, stdout, stderr, environ, cwd) as process:
            await until(lambda: process.poll() is not None, f"the end of {argv[0]}", timeout_s)
        return Finished(process.returncode, _read(stdout), _read(stderr))


@contextmanager
def _running(
    argv: Sequence[str], stdout: IO[bytes], stderr: IO[bytes], environ: Mapping[str, str] | None, cwd: Path | None
) -> Iterator[subprocess.Popen[bytes]]:
    # Its input stays open and empty: wscat ends when its input does.
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=stdout, stderr=stderr, env=environ, cwd=cwd)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
