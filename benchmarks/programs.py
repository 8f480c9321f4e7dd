"""The C programs: compiled into bin/, run as floors and as the child of every server."""

import json
import os
import shutil
import subprocess
from pathlib import Path

HERE = Path(__file__).parent
SOURCES = HERE / "floors"
BINARIES = HERE / "bin"
CHILD = str(BINARIES / "child")

FLOOR_DEADLINE_S = 120


class CompilerMissingError(Exception):
    """There is no C compiler on this machine."""


def build() -> None:
    """Compile what is older than its source.

    Raises:
        CompilerMissingError: neither $CC nor cc nor gcc is on PATH.
        subprocess.CalledProcessError: the compiler's own words are on stderr.
    """
    header_changed = (SOURCES / "pty.h").stat().st_mtime
    BINARIES.mkdir(exist_ok=True)
    for source in sorted(SOURCES.glob("*.c")):
        binary = BINARIES / source.stem
        if binary.exists() and binary.stat().st_mtime > max(header_changed, source.stat().st_mtime):
            continue
        subprocess.run([_compiler(), "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)], check=True)


def run_floor(name: str, *args: str) -> dict[str, float]:
    """Run the floor `name`; return what it printed."""
    done = subprocess.run([str(BINARIES / name), *args], check=True, stdout=subprocess.PIPE, timeout=FLOOR_DEADLINE_S)
    figures: dict[str, float] = json.loads(done.stdout)
    return figures


def _compiler() -> str:
    for name in (os.environ.get("CC", ""), "cc", "gcc"):
        if name and shutil.which(name):
            return name
    raise CompilerMissingError("no C compiler: neither $CC nor cc nor gcc is on PATH (apt-get install gcc libc6-dev)")
