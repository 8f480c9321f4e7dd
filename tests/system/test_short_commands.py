"""Thousands of commands that end at once: no byte is missing, none is doubled, every exit is told as it was."""

import asyncio
import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon_process import DaemonProcess
from scale import scaled
from scripted_controller import ScriptedController
from terminal_client import Heard, hear_all

# In each of the two modes: 10,000 in all, which take less than a minute.
COUNT = scaled(5000)
AT_ONCE = 16
SEED = 20
SOURCES = 24
OUTPUT_MAX_BYTES = 200_000
FATAL = ("HUP", "INT", "KILL", "USR1", "USR2", "PIPE", "ALRM", "TERM", "SEGV", "ABRT")
# No stty: with a terminal each newline arrives as two bytes, which is as predictable.
SCRIPT = """
ulimit -c 0
head -c "$1" "$2"
head -c "$3" "$4" >&2
case $5 in SIG*) kill -s "${5#SIG}" $$ ;; *) exit "$5" ;; esac
"""


@dataclass(frozen=True, slots=True)
class Part:
    """The first `count` bytes of a file."""

    count: int
    path: Path
    content: bytes

    @property
    def data(self) -> bytes:
        """The bytes."""
        return self.content[: self.count]


@dataclass(frozen=True, slots=True)
class ShortCommand:
    """What a command writes to its two outputs and how it ends: an exit code, or a signal's name with SIG."""

    stdout: Part
    stderr: Part
    end: str

    @property
    def ending(self) -> tuple[int | None, str | None]:
        """Exit code and signal's name, as the exit message has them."""
        return (None, self.end.removeprefix("SIG")) if self.end.startswith("SIG") else (int(self.end), None)

    def arguments(self) -> list[str]:
        """Return the arguments for /bin/sh."""
        parts = [str(value) for part in (self.stdout, self.stderr) for value in (part.count, part.path)]
        return ["-c", SCRIPT, "sh", *parts, self.end]


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[ShortCommand]:
    """An endless supply of short commands, always the same ones."""
    choose = random.Random(SEED)
    sources = []
    for number in range(SOURCES):
        path, content = tmp_path / f"source{number}", choose.randbytes(OUTPUT_MAX_BYTES)
        path.write_bytes(content)
        sources.append((path, content))
    return (choose_command(choose, sources) for _ in itertools.count())


def choose_command(choose: random.Random, sources: Sequence[tuple[Path, bytes]]) -> ShortCommand:
    """Return a command of any kind; nothing and little are as frequent as much, because each has faults of its own."""

    def part(limit: int) -> Part:
        return Part(choose.choice((0, choose.randrange(100), choose.randrange(limit + 1))), *choose.choice(sources))

    code, name = str(choose.randrange(256)), f"SIG{choose.choice(FATAL)}"
    end = code if choose.random() < 0.8 else name
    return ShortCommand(part(OUTPUT_MAX_BYTES), part(OUTPUT_MAX_BYTES // 4), end)


async def run_command(daemon: DaemonProcess, controller: ScriptedController, command: ShortCommand, tty: bool) -> Heard:
    """Run one through the daemon."""
    token = controller.allow("/bin/sh", *command.arguments(), tty=tty)
    async with daemon.open(token) as websocket:
        return await hear_all(websocket)


def check(command: ShortCommand, heard: Heard, tty: bool) -> None:
    """Fail unless every byte and the exit are right. No assert on the bytes: its message would take minutes."""
    expected = {1: command.stdout.data, 2: command.stderr.data}
    if tty:
        expected = {1: (expected[1] + expected[2]).replace(b"\n", b"\r\n"), 2: b""}
    for stream, data in expected.items():
        found = heard.streams[stream]
        if found != data:
            pytest.fail(f"stream {stream}: {len(found)} bytes, not the {len(data)} of {command.arguments()[3:]}")
    assert (heard.errors, heard.close_code) == ([], 1000)
    assert heard.ending == command.ending
    assert heard.exit["bytes"] == heard.size


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipes"])
async def test_every_byte_and_every_exit_of_thousands_of_short_commands_is_right(
    daemon: DaemonProcess, controller: ScriptedController, commands: Iterator[ShortCommand], tty: bool
) -> None:
    remaining = iter(range(COUNT))

    async def work() -> None:
        for _ in remaining:
            command = next(commands)
            check(command, await run_command(daemon, controller, command, tty), tty)

    async with asyncio.TaskGroup() as group:
        for _ in range(AT_ONCE):
            group.create_task(work())

    await daemon.sessions_reach(0)
    assert await daemon.read_metric('ws_subprocess_sessions_started_total{door="terminal"}') == COUNT
    assert daemon.children() == set()
