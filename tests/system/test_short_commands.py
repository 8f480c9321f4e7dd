"""Thousands of commands that end at once: no byte is missing, none is doubled, every exit is told as it was."""

import asyncio
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from daemon_process import DaemonProcess
from programs import scaled
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
        return self.content[: self.count]


@dataclass(frozen=True, slots=True)
class ShortCommand:
    """What a command writes to its two outputs and how it ends: an exit code, or a signal's name with SIG."""

    stdout: Part
    stderr: Part
    end: str

    @property
    def ending(self) -> tuple[int | None, str | None]:
        return (None, self.end.removeprefix("SIG")) if self.end.startswith("SIG") else (int(self.end), None)

    def arguments(self) -> list[str]:
        parts = [str(value) for part in (self.stdout, self.stderr) for value in (part.count, part.path)]
        return ["-c", SCRIPT, "sh", *parts, self.end]


@pytest.fixture
def commands(tmp_path: Path) -> Iterator[ShortCommand]:
    """An endless supply of short commands, always the same ones."""
    random_source = random.Random(SEED)
    sources = []
    for number in range(SOURCES):
        content = random_source.randbytes(OUTPUT_MAX_BYTES)
        (tmp_path / f"source{number}").write_bytes(content)
        sources.append((tmp_path / f"source{number}", content))

    def part(limit: int) -> Part:
        # As many nothings and small ones as large ones: each has faults of its own.
        count = random_source.choice((0, random_source.randrange(100), random_source.randrange(limit + 1)))
        return Part(count, *random_source.choice(sources))

    def supply() -> Iterator[ShortCommand]:
        while True:
            end = (
                str(random_source.randrange(256))
                if random_source.random() < 0.8
                else f"SIG{random_source.choice(FATAL)}"
            )
            yield ShortCommand(part(OUTPUT_MAX_BYTES), part(OUTPUT_MAX_BYTES // 4), end)

    return supply()


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
        if heard.streams[stream] != data:
            pytest.fail(
                f"stream {stream}: {len(heard.streams[stream])} bytes, not the {len(data)} of {command.arguments()[3:]}"
            )
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
