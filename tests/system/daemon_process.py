"""The real daemon as a process of its own: started as a person would, watched through /proc, ended by signals."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from observing import until
from websockets.asyncio.client import ClientConnection, connect

PROGRAM = (sys.executable, "-m", "ws_subprocess")
# The machine may be busy with other tests' daemons.
WAIT_S = 60.0
NATIVE = "ws-subprocess.v1"
REPOSITORY = Path(__file__).parents[2]


def daemon_environ(**variables: str) -> dict[str, str]:
    """Return this process's environment without settings of the daemon, and with `variables`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WS_SUBPROCESS_")}
    return kept | {"PYTHONPATH": str(REPOSITORY)} | variables


@dataclass(slots=True)
class DaemonProcess:
    """A daemon that was started; `ready` waits until it can be reached.

    Attributes:
        folder: Holds its `stdout` and its `stderr`, the log.
        addresses: What it printed when it was ready.
    """

    process: subprocess.Popen[bytes]
    folder: Path
    addresses: tuple[str, ...] = ()

    @property
    def pid(self) -> int:
        """Its process id."""
        return self.process.pid

    @property
    def url(self) -> str:
        """Where its pages are."""
        return self.addresses[0]

    @property
    def port(self) -> int:
        """Its TCP port on loopback."""
        port = httpx.URL(self.url).port
        assert port is not None
        return port

    @property
    def output(self) -> str:
        """All it has printed so far."""
        return (self.folder / "stdout").read_text()

    @property
    def log(self) -> str:
        """All it has logged so far."""
        return (self.folder / "stderr").read_text()

    def log_lines(self) -> list[dict[str, Any]]:
        """Return the log as objects. Raises ValueError when a line is no JSON."""
        return [json.loads(line) for line in self.log.splitlines()]

    async def ready(self) -> None:
        """Wait until it says that it can be reached."""
        await until(
            lambda: self.output.endswith("\n") or self.process.poll() is not None, "the daemon's first line", WAIT_S
        )
        assert self.process.poll() is None, f"the daemon ended with status {self.process.returncode}: {self.log}"
        line = self.output.splitlines()[0]
        self.addresses = tuple(line.removeprefix("ready ").split(" "))

    async def ended(self, timeout_s: float = WAIT_S) -> int:
        """Wait for its end; return its exit status, negative for a signal."""
        await until(lambda: self.process.poll() is not None, "the daemon's end", timeout_s)
        assert self.process.returncode is not None
        return self.process.returncode

    async def end(self) -> None:
        """End it and all of its sessions, whatever state it is in; nothing of it is left then."""
        try:
            if self.process.poll() is None:
                # The first drains, the second ends at once. Two of a kind might become one.
                self.send(signal.SIGTERM)
                self.send(signal.SIGINT)
                await self.ended()
        finally:
            self.process.kill()
            self.process.wait()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        """Ask it for something over HTTP, on a connection of its own."""
        return await get(self.url + path, headers)

    async def read_metric(self, name: str) -> float:
        """Return one figure of `/metrics`, by its name with labels."""
        for line in (await self.get("/metrics")).text.splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        raise KeyError(name)

    async def sessions_reach(self, count: int, timeout_s: float = WAIT_S) -> None:
        """Wait until that many sessions live."""
        async with asyncio.timeout(timeout_s):
            while await self.read_metric("ws_subprocess_sessions") != count:  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.02)

    def open(self, token: str, dialect: str | None = NATIVE, query: str = "", **options: Any) -> connect:
        """Return a connection to be awaited or entered: the terminal of `token`."""
        return connect(
            f"{self.url.replace('http', 'ws', 1)}/ws{query}",
            subprotocols=None if dialect is None else [dialect],
            additional_headers={"Authorization": f"Bearer {token}"},
            compression=None,
            proxy=None,
            open_timeout=WAIT_S,
            **options,
        )

    def rss_bytes(self) -> int:
        """Return its resident memory."""
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) * 1024

    def descriptors(self) -> Counter[str]:
        """Return how many descriptors it has of each kind: pseudoterminals, sockets, pipes, pidfds, files."""
        kinds: Counter[str] = Counter()
        for name in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                kinds[os.readlink(f"/proc/{self.pid}/fd/{name}").split(":[")[0]] += 1
            except FileNotFoundError:
                continue
        return kinds

    def children(self) -> set[int]:
        """Return the pids of its children, zombies and adopted orphans included."""
        paths = Path(f"/proc/{self.pid}/task").glob("*/children")
        return {int(pid) for path in paths for pid in path.read_text().split()}

    def count_threads(self) -> int:
        """Return how many threads it has."""
        return len(os.listdir(f"/proc/{self.pid}/task"))


async def get(url: str, headers: Mapping[str, str] | None = None) -> httpx.Response:
    """Ask for something over HTTP, on a connection of its own."""
    async with httpx.AsyncClient(trust_env=False) as client:
        return await client.get(url, headers=headers)


# Starts `ws-subprocess serve FLAGS`; the fixture `start_daemon`.
StartDaemon = Callable[..., Awaitable[DaemonProcess]]


def launch(
    folder: Path,
    *arguments: str,
    program: Sequence[str] = PROGRAM,
    environ: Mapping[str, str] | None = None,
    pass_fds: Sequence[int] = (),
) -> DaemonProcess:
    """Start `ws-subprocess ARGUMENTS`; its two outputs go to files in `folder`.

    Args:
        program: What to start instead: something that executes the daemon.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "stdout", "wb") as stdout, open(folder / "stderr", "wb") as stderr:
        process = subprocess.Popen(
            [*program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=daemon_environ() if environ is None else environ,
            cwd=folder,
            pass_fds=pass_fds,
        )
    return DaemonProcess(process, folder)


async def send_json(websocket: ClientConnection, **message: object) -> None:
    """Send one control message of the native dialect."""
    await websocket.send(json.dumps(message))
