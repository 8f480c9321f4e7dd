"""The servers of jobs over HTTP that are compared: the daemon's command door and Flask-Shell2HTTP, beside each other.

Law: both serve the same commands to the same client; the daemon with a token, a store on the disk and all of its other
defaults, the peer as its own documents say.
"""

import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.cpus import reader_cpu
from benchmarks.figures import DAEMON, SHELL2HTTP
from benchmarks.job_commands import COMMANDS
from benchmarks.programs import BINARIES
from benchmarks.servers import DAEMON_COMMAND, free_port, run_process, wait_until_it_answers

TOKEN = "a-token-of-the-benchmark-and-of-nobody-else"
# One worker, because its results live in one process; more threads than clients, because one that waits holds one.
GUNICORN = ["-m", "gunicorn", "--workers", "1", "--threads", "32", "--log-level", "error"]
CLOCK_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class JobSystem:
    """One column of the table.

    Attributes:
        serve: Builds the command line that serves on a port, with a folder to write to; not asked when `missing` says
            why.
    """

    name: str
    serve: Callable[[int, Path], list[str]]
    missing: str | None = None


@dataclass(frozen=True)
class JobServer:
    """A server that runs: where it listens, and what it and its processes have cost so far."""

    system: JobSystem
    process: subprocess.Popen[bytes]
    port: int

    def cpu_s(self) -> float:
        """Return user and system time of all its processes, and of all that they have waited for."""
        ticks = 0
        for pid in _list_tree(self.process.pid):
            fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
            ticks += sum(map(int, fields[11:15]))
        return ticks / CLOCK_TICKS

    def peak_bytes(self) -> int:
        """Return the sum of the most that each of its processes was ever resident with."""
        return sum(map(_read_peak_bytes, _list_tree(self.process.pid)))


def all_job_systems() -> list[JobSystem]:
    """Return every column, the missing ones too."""
    needed = ("flask_shell2http", "flask_executor", "gunicorn")
    missing = None if all(map(importlib.util.find_spec, needed)) else "not installed"
    return [JobSystem(DAEMON, _serve_daemon), JobSystem(SHELL2HTTP, _serve_shell2http, missing)]


@contextmanager
def running_jobs(systems: Sequence[JobSystem]) -> Iterator[list[JobServer]]:
    """Serve by each of `systems` that is there, each with all that it starts on the reader's CPU."""
    with ExitStack() as stack:
        yield [stack.enter_context(_running_one(system)) for system in systems if system.missing is None]


@contextmanager
def _running_one(system: JobSystem) -> Iterator[JobServer]:
    # Not in /tmp, which may be memory: that what is accepted is on a disk is part of the price.
    with tempfile.TemporaryDirectory(dir=BINARIES) as folder:
        port = free_port()
        with reader_cpu(), run_process(system.serve(port, Path(folder))) as process:
            wait_until_it_answers(process, port)
            yield JobServer(system, process, port)


def _serve_daemon(port: int, folder: Path) -> list[str]:
    commands, tokens = folder / "commands.toml", folder / "tokens.toml"
    commands.write_text("".join(f'[[command]]\nname = "{n}"\ncommand = "{c}"\n' for n, c in COMMANDS.items()))
    allowed = ", ".join(f'{{ door = "commands", command = "{command}" }}' for command in COMMANDS.values())
    token_hash = hashlib.sha256(TOKEN.encode()).hexdigest()
    tokens.write_text(
        f'[[token]]\nname = "benchmark"\nhash = "sha256:{token_hash}"\ndoors = ["commands"]\nallow = [{allowed}]\n'
    )
    options = ["--listen", f"127.0.0.1:{port}", "--commands-file", str(commands), "--tokens-file", str(tokens)]
    return [*DAEMON_COMMAND, "serve", *options, "--state-dir", str(folder / "state"), "--log-level", "error"]


def _serve_shell2http(port: int, folder: Path) -> list[str]:
    return [sys.executable, *GUNICORN, "--bind", f"127.0.0.1:{port}", "benchmarks.shell2http_server:app"]


def _list_tree(pid: int) -> list[int]:
    """Return a process and all that descend from it."""
    children = [
        int(child) for path in Path(f"/proc/{pid}/task").glob("*/children") for child in path.read_text().split()
    ]
    return [pid, *(descendant for child in children for descendant in _list_tree(child))]


def _read_peak_bytes(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM:")) * 1024
