"""How a child ended, and that not a byte of its output is lost."""

import asyncio
import hashlib
import os
import random
import signal
from pathlib import Path

import pytest
from children import Nursery
from observing import until

from ws_subprocess.model import ExitStatus, Size

HARMLESS = {signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH}
STOPPING = {signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU}
DEADLY = sorted({s for s in signal.valid_signals() if s < 32} - HARMLESS - STOPPING)
ROUNDS = int(os.environ.get("WS_SUBPROCESS_TEST_ROUNDS", "200"))
SIZE_MAX = 200_000


async def test_every_exit_code_is_told_as_it_is(nursery: Nursery) -> None:
    for first in range(0, 256, 16):
        codes = range(first, first + 16)
        batch = [nursery.shell(f"exit {code}", tty=bool(code % 2)) for code in codes]
        assert [await running.finish() for running in batch] == [ExitStatus(code, None) for code in codes]


async def test_every_deadly_signal_is_told_as_itself(nursery: Nursery, tty: bool, tmp_path: Path) -> None:
    batch = [nursery.shell(f"ulimit -c 0; kill -{number} $$", tty=tty, cwd=str(tmp_path)) for number in DEADLY]

    assert [await running.finish() for running in batch] == [ExitStatus(None, number) for number in DEADLY]


async def test_all_output_of_children_that_exit_at_once_arrives(nursery: Nursery, tty: bool, tmp_path: Path) -> None:
    """Terminals and pipes alike, whatever the size and however busy the machine is."""
    dice = random.Random(20240601)
    content = dice.randbytes(SIZE_MAX)
    source = tmp_path / "source"
    source.write_bytes(content)
    cook = "stty -opost; " if tty else ""
    turns = asyncio.Semaphore(8)

    async def check() -> None:
        size, code = dice.choice((0, 1, 4095, 4096, 65_536, dice.randrange(SIZE_MAX))), dice.randrange(256)
        async with turns:
            running = nursery.shell(f'{cook}head -c {size} "$1"; exit {code}', str(source), tty=tty)
            assert await running.finish() == ExitStatus(code, None)
        assert len(running.stdout) == size
        assert hashlib.sha256(running.stdout).digest() == hashlib.sha256(content[:size]).digest()

    await asyncio.gather(*(check() for _ in range(ROUNDS)))


async def test_both_streams_of_pipes_arrive_apart_and_complete(nursery: Nursery) -> None:
    script = "i=0; while [ $i -lt 300 ]; do echo out$i; echo err$i >&2; i=$((i+1)); done"
    running = nursery.shell(script, tty=False)

    await running.finish()

    assert running.stdout.decode().split() == [f"out{i}" for i in range(300)]
    assert running.stderr.decode().split() == [f"err{i}" for i in range(300)]


async def test_one_stream_may_end_long_before_the_other(nursery: Nursery) -> None:
    running = nursery.shell("echo err >&2; exec 2>&-; read go; echo out", tty=False)
    await until(lambda: running.stderr, "stderr")

    running.child.write(b"go\n")
    await running.finish()

    assert running.stdout == b"out\n"


async def test_an_exit_is_told_while_a_background_process_still_holds_the_terminal(nursery: Nursery) -> None:
    running = nursery.shell("trap '' HUP; sleep 1000 & exit 4")

    await until(lambda: running.listener.statuses, "the exit")
    assert "output end" not in running.listener.events
    assert running.child.has_survivors()
    while running.child.kill_tree():
        pass

    assert await running.finish() == ExitStatus(4, None)
    assert not running.listener.events.count("room")


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    """A named pipe: a child that reads it waits until somebody opens it for writing."""
    path = tmp_path / "gate"
    os.mkfifo(path)
    return path


def has_closed_its_terminal(pid: int) -> bool:
    return not {"0", "1", "2"} & set(os.listdir(f"/proc/{pid}/fd"))


async def open_gate(gate: Path) -> None:
    def write() -> None:
        gate.write_text("go\n")

    # Opening waits for the reader: not on the loop.
    await asyncio.to_thread(write)


async def test_a_child_may_close_its_terminal_and_open_it_again(nursery: Nursery, gate: Path) -> None:
    script = 'exec <&- >&- 2>&-; read go < "$1"; exec > /dev/tty; echo back; read line < /dev/tty; echo got $line'
    running = nursery.shell(script, str(gate))
    await until(lambda: has_closed_its_terminal(running.pid), "closed")

    running.child.write(b"typed meanwhile\n")
    await asyncio.gather(open_gate(gate))
    await running.says(b"got typed meanwhile")

    assert await running.finish() == ExitStatus(0, None)
    assert b"back" in running.stdout


async def test_the_last_words_of_a_child_that_had_closed_its_terminal_arrive(nursery: Nursery, gate: Path) -> None:
    running = nursery.shell('exec <&- >&- 2>&-; read go < "$1"; echo last words > /dev/tty; exit 6', str(gate))
    await until(lambda: has_closed_its_terminal(running.pid), "closed")

    await open_gate(gate)

    assert await running.finish() == ExitStatus(6, None)
    assert running.stdout == b"last words\r\n"


async def test_a_paused_child_that_has_closed_its_terminal_stays_paused(nursery: Nursery) -> None:
    running = nursery.shell("exec <&- >&- 2>&-; while :; do echo more > /dev/tty; sleep 0.01; done")
    await running.says(b"more")
    await until(lambda: has_closed_its_terminal(running.pid), "closed")
    loop = asyncio.get_running_loop()

    running.child.pause_output()
    said, paused_at_s = running.stdout, loop.time()

    # Several times as long as the child's terminal is left alone before it is looked at again.
    await until(lambda: loop.time() > paused_at_s + 0.5, "half a second")
    assert running.stdout == said


async def test_a_paused_child_is_stopped_by_its_full_terminal_and_goes_on(nursery: Nursery, tty: bool) -> None:
    cook = "stty -opost; " if tty else ""
    running = nursery.shell(f"{cook}head -c 3000000 /dev/zero", tty=tty)
    await until(lambda: running.stdout, "the first output")

    running.child.pause_output()
    arrived = len(running.stdout)
    await asyncio.sleep(0.05)
    assert len(running.stdout) == arrived
    running.child.resume_output()

    assert await running.finish() == ExitStatus(0, None)
    assert len(running.stdout) == 3_000_000


async def test_a_child_that_has_been_closed_can_be_told_anything(nursery: Nursery, tty: bool) -> None:
    """A client may say something in the very moment in which the session ends."""
    running = nursery.start("/bin/sleep", "1000", tty=tty)
    running.kill()

    running.child.resize(Size(30, 100))
    running.child.end_input()
    running.child.write(b"x")
    assert not running.child.truncates(b"x" * 5000)
