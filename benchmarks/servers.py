"""Starts, watches and ends the servers that are compared; each runs one command for whoever connects.

Law: what is started here is ended here, by its pid, whatever happens between.
"""

import importlib.util
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from benchmarks.client import NATIVE, RAW, TERMINADO, Dialect, Session
from benchmarks.cpus import reader_cpu

HERE = Path(__file__).parent
DAEMON_COMMAND = (sys.executable, "-m", "ws_subprocess")
Place = Callable[[], AbstractContextManager[None]]

READY_DEADLINE_S = 30
READY_POLL_S = 0.002
TERM_DEADLINE_S = 20


class NeverReadyError(Exception):
    """A server did not answer HTTP in READY_DEADLINE_S, or ended before."""


@dataclass(frozen=True)
class System:
    """One column of the table.

    Attributes:
        serve: Builds the command line that serves a child's command on a port; None when `missing` says why.
        help: Command line that prints the help text, None where there is none.
    """

    name: str
    path: str
    dialect: Dialect
    serve: Callable[[int, int, list[str]], list[str]]
    help: list[str] | None = None
    missing: str | None = None
    asks_controller: bool = False


@dataclass(frozen=True)
class Server:
    """A server that runs: where it listens, what it has cost so far."""

    system: System
    process: subprocess.Popen[bytes]
    port: int
    ready_s: float

    def connect(self, buffer_bytes: int) -> Session:
        """Open a session."""
        return Session(self.port, self.system.path, self.system.dialect, buffer_bytes)

    def cpu_s(self) -> float:
        """Return utime + stime of the server process, not of its children; finer than the 10 ms of /proc."""
        cpu_clock = (~self.process.pid << 3) | 2  # clock_getcpuclockid(3) of a foreign process
        return time.clock_gettime(cpu_clock)

    def resident_bytes(self) -> int:
        """Return the server process' resident set size."""
        lines = Path(f"/proc/{self.process.pid}/smaps_rollup").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024


def all_systems() -> list[System]:
    """Return every column, the missing ones too: a table must not leave out whom it was to compare with."""
    daemon_help = [*DAEMON_COMMAND, "--help"]
    websocketd_help = ["websocketd", "--help"]
    terminado_missing = None if importlib.util.find_spec("terminado") else "not installed"
    websocketd_missing = None if shutil.which("websocketd") else "not installed"
    return [
        System("ws-subprocess", "/ws?token=T", RAW, _serve_daemon, daemon_help, asks_controller=True),
        System("ws-subprocess.v1", "/ws?token=T", NATIVE, _serve_daemon, asks_controller=True),
        System("terminado", "/ws", TERMINADO, _serve_terminado, missing=terminado_missing),
        System("websocketd", "/", RAW, _serve_websocketd, websocketd_help, missing=websocketd_missing),
    ]


@contextmanager
def running(systems: Sequence[System], command: list[str], *, placed: bool = False) -> Iterator[list[Server]]:
    """Serve `command` by each of `systems` that is there, `placed` on the reader's CPU; end them all in the end."""
    with ExitStack() as stack:
        place = reader_cpu if placed else nullcontext
        present = [system for system in systems if system.missing is None]
        yield [stack.enter_context(running_one(system, command, place)) for system in present]


@contextmanager
def running_one(system: System, command: list[str], place: Place = nullcontext) -> Iterator[Server]:
    """Serve `command` by `system`, started in `place`, with a controller where it asks one."""
    with ExitStack() as stack:
        controller_port = free_port()
        if system.asks_controller:
            script = [sys.executable, str(HERE / "controller.py"), str(controller_port), *command]
            controller = stack.enter_context(run_process(script))
            wait_until_it_answers(controller, controller_port)
        port = free_port()
        started = time.perf_counter()
        with place():
            process = stack.enter_context(run_process(system.serve(port, controller_port, command)))
        wait_until_it_answers(process, port)
        yield Server(system, process, port, time.perf_counter() - started)


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _serve_daemon(port: int, controller_port: int, command: list[str]) -> list[str]:
    controller_url = f"http://127.0.0.1:{controller_port}/c"
    options = ["--listen", f"127.0.0.1:{port}", "--controller-url", controller_url, "--log-level", "warning"]
    return [*DAEMON_COMMAND, "serve", *options]


def _serve_terminado(port: int, controller_port: int, command: list[str]) -> list[str]:
    return [sys.executable, str(HERE / "terminado_server.py"), str(port), *command]


def _serve_websocketd(port: int, controller_port: int, command: list[str]) -> list[str]:
    return ["websocketd", f"--port={port}", "--address=127.0.0.1", "--binary=true", "--loglevel=fatal", *command]


@contextmanager
def run_process(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a server, told to end when the block does, and killed when it does not."""
    # Its own session: Ctrl-C in the runner's terminal is the runner's alone, which then ends everything in order.
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(TERM_DEADLINE_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def wait_until_it_answers(process: subprocess.Popen[bytes], port: int) -> None:
    """Return once a server has answered HTTP, with whatever status.

    Raises:
        NeverReadyError: It has not, or it has ended.
    """
    deadline = time.monotonic() + READY_DEADLINE_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), READY_DEADLINE_S) as probe:
                probe.sendall(f"GET /readyz HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
                if probe.recv(1):
                    return
        except (ConnectionRefusedError, ConnectionResetError):
            time.sleep(READY_POLL_S)
    state = f"ended with status {process.returncode}" if process.returncode is not None else "still silent"
    raise NeverReadyError(f"{process.args!r}: {state} after {READY_DEADLINE_S} s at most")
