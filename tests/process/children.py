"""Real children with somebody who listens to them."""

import itertools
import resource
import secrets
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from observing import list_descriptors, until

from ws_subprocess.model import DEFAULT_SIZE, STDERR, STDOUT, Confinement, ExitStatus, Grant, SessionId, Size
from ws_subprocess.process.child import LocalChild
from ws_subprocess.process.spawner import Spawner

SH = "/bin/sh"


@dataclass
class Listener:
    """Keeps what a child tells, in order."""

    streams: dict[int, bytearray] = field(default_factory=lambda: defaultdict(bytearray))
    events: list[str] = field(default_factory=list)
    statuses: list[ExitStatus] = field(default_factory=list)

    def on_output(self, stream: int, data: memoryview) -> None:
        self.streams[stream] += data
        self.events.append("output")

    def on_output_end(self) -> None:
        self.events.append("output end")

    def on_exit(self, status: ExitStatus) -> None:
        self.statuses.append(status)
        self.events.append("exit")

    def on_input_room(self) -> None:
        self.events.append("room")


class Running:
    """A child that was started, and what it has told so far."""

    def __init__(self, child: LocalChild) -> None:
        self.child = child
        self.pid = child.pid
        self.listener = Listener()
        self._is_closed = False
        child.start(self.listener)

    @property
    def stdout(self) -> bytes:
        return bytes(self.listener.streams[STDOUT])

    @property
    def stderr(self) -> bytes:
        return bytes(self.listener.streams[STDERR])

    def is_done(self) -> bool:
        """Tell whether exit and end of output were told."""
        return bool(self.listener.statuses) and "output end" in self.listener.events

    async def says(self, data: bytes) -> None:
        await until(lambda: data in self.stdout, f"{data!r} in the output")

    async def finish(self) -> ExitStatus:
        """Wait for exit and end of output, give everything back, and return how it ended."""
        await until(self.is_done, "exit and end of output")
        self.close()
        assert len(self.listener.statuses) == 1
        assert self.listener.events.count("output end") == 1
        return self.listener.statuses[0]

    def close(self) -> None:
        if not self._is_closed:
            self._is_closed = True
            self.child.close()

    def kill(self) -> None:
        """End the whole tree, whatever it does."""
        if not self._is_closed:
            while self.child.kill_tree():
                pass
            self.close()


class Nursery:
    """Starts children, and sees to it that none outlives the test."""

    def __init__(self, spawner: Spawner) -> None:
        self.spawner = spawner
        self._running: list[Running] = []

    def start(self, command: str, *args: str, size: Size = DEFAULT_SIZE, **grant: Any) -> Running:
        """Start a command on a terminal, or with `tty=False` on pipes; further keywords are the grant's."""
        session = SessionId(secrets.token_hex(16))
        running = Running(self.spawner.start(Grant(command, args, **grant), session, size))
        self._running.append(running)
        return running

    def warm_up(self) -> None:
        """Start what serves all confined children, so that no later start is blamed for it."""
        self.start("/bin/true", confinement=Confinement(umask=0o022)).kill()

    def shell(self, script: str, *args: str, **grant: Any) -> Running:
        """Start a script of the shell; `args` are its $1, $2, ..."""
        return self.start(SH, "-c", script, SH, *args, **grant)

    def end(self) -> None:
        for running in self._running:
            running.kill()
        self.spawner.close()


def read_status(pid: int) -> dict[str, str]:
    """Return the fields of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def read_command_line(pid: int) -> bytes:
    """Return the command and its arguments, each with its NUL."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def find_marked(session: str) -> list[int]:
    """Return the processes, zombies apart, that have the session's mark in their environment."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdecimal():
            try:
                environ = (folder / "environ").read_bytes()
            except OSError:
                continue
            if f"WS_SUBPROCESS_SESSION={session}".encode() in environ.split(b"\0"):
                found.append(int(folder.name))
    return found


@contextmanager
def few_descriptors(count: int) -> Iterator[None]:
    """Leave this process `count` numbers for descriptors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = list_descriptors()
    free = (number for number in itertools.count() if number not in taken)
    resource.setrlimit(resource.RLIMIT_NOFILE, (next(itertools.islice(free, count, None)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
