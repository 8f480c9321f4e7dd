"""Input: complete, in order, bounded, and with an end."""

import asyncio
import hashlib
import os
import random
import resource
from pathlib import Path

from children import Nursery, Running
from observing import until

from ws_subprocess.model import ExitStatus

LIMIT_BYTES = 64 * 1024


async def feed(running: Running, data: bytes) -> None:
    """Write as a well-behaved client: pause while the queue is full."""
    for at in range(0, len(data), 16_000):
        rooms = running.listener.events.count("room")
        if not running.child.write(data[at : at + 16_000]):
            await until(lambda rooms=rooms: running.listener.events.count("room") > rooms, "room")  # type: ignore[misc]


async def test_what_is_typed_is_echoed_by_the_terminal_and_read_by_the_command(nursery: Nursery) -> None:
    running = nursery.shell("read line; echo got:$line")

    running.child.write(b"hello\r")
    await running.finish()

    assert running.stdout == b"hello\r\ngot:hello\r\n"


async def test_a_command_can_switch_the_echo_off(nursery: Nursery) -> None:
    running = nursery.shell("stty -echo; echo ready; read line; echo got:$line")
    await running.says(b"ready")

    running.child.write(b"secret\r")
    await running.finish()

    assert running.stdout == b"ready\r\ngot:secret\r\n"


async def test_end_of_file_ends_a_reader(nursery: Nursery, tty: bool) -> None:
    running = nursery.start("/bin/cat", tty=tty)
    running.child.write(b"abc\n")
    await running.says(b"abc")

    running.child.end_input()

    assert await running.finish() == ExitStatus(0, None)


async def test_end_of_file_on_a_terminal_is_the_character_that_it_has_for_it(nursery: Nursery) -> None:
    running = nursery.shell("stty eof ^X -echo; echo ready; cat; echo ended")
    await running.says(b"ready")

    running.child.write(b"\x04\n")
    running.child.end_input()
    await running.finish()

    assert running.stdout == b"ready\r\n\x04\r\nended\r\n"


async def test_a_terminal_that_has_none_gets_no_end_of_file(nursery: Nursery) -> None:
    running = nursery.shell("stty eof undef -echo; echo ready; read line; echo got:$line")
    await running.says(b"ready")

    running.child.end_input()
    running.child.write(b"abc\n")
    await running.finish()

    assert running.stdout == b"ready\r\ngot:abc\r\n"


async def test_end_of_file_comes_after_all_input_before_it(nursery: Nursery) -> None:
    running = nursery.start("/usr/bin/wc", "-c", tty=False)

    running.child.write(b"x" * 3_000_000)
    running.child.end_input()
    running.child.write(b"too late")
    await running.finish()

    assert running.stdout.strip() == b"3000000"


async def test_a_large_paste_of_short_lines_arrives_complete(nursery: Nursery, tmp_path: Path) -> None:
    dice = random.Random(7)
    paste = b"".join(b"%d " % dice.randrange(10**40) * dice.randrange(1, 4) + b"\n" for _ in range(8000))
    running = nursery.shell('stty -echo; echo ready; cat > "$1"; echo done', str(tmp_path / "copy"))
    await running.says(b"ready")

    await feed(running, paste)
    running.child.end_input()
    await running.finish()

    assert len(paste) > 500_000
    assert (tmp_path / "copy").read_bytes() == paste


async def test_a_large_paste_arrives_complete_while_the_terminal_echoes_it(nursery: Nursery, tmp_path: Path) -> None:
    paste = b"".join(b"line %d\n" % number for number in range(20_000))
    running = nursery.shell('cat > "$1"', str(tmp_path / "copy"))

    await feed(running, paste)
    running.child.end_input()
    await running.finish()

    # Of the echo the kernel drops what its buffer does not hold (N_TTY), so that is no measure.
    assert (tmp_path / "copy").read_bytes() == paste


async def test_a_large_paste_in_raw_mode_arrives_byte_for_byte(nursery: Nursery) -> None:
    paste = random.Random(8).randbytes(1_000_000)
    running = nursery.shell(f"stty raw -echo; echo ready; head -c {len(paste)} | sha256sum")
    await running.says(b"ready")

    await feed(running, paste)
    await running.finish()

    assert hashlib.sha256(paste).hexdigest().encode() in running.stdout


async def test_a_command_that_reads_nothing_fills_the_queue_and_no_more(nursery: Nursery, tty: bool) -> None:
    running = nursery.shell("trap : HUP; stty raw 2>/dev/null; echo ready; sleep 1000", tty=tty)
    await running.says(b"ready")
    sent = 0

    while running.child.write(b"x" * 1000):
        sent += 1000
        assert sent < 3 * LIMIT_BYTES + (1 << 20)

    await asyncio.sleep(0)
    assert "room" not in running.listener.events
    running.child.hang_up()


async def test_room_is_told_once_the_queue_is_half_empty(nursery: Nursery, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    running = nursery.shell('read go < "$1"; exec wc -c', str(gate), tty=False)
    sent = 1000
    while running.child.write(b"x" * 1000):
        sent += 1000

    await asyncio.to_thread(gate.write_text, "go\n")
    await until(lambda: "room" in running.listener.events, "room")
    running.child.end_input()
    await running.finish()

    assert running.listener.events.count("room") == 1
    assert int(running.stdout) == sent


async def test_input_for_a_command_that_has_gone_is_dropped(nursery: Nursery, tty: bool) -> None:
    running = nursery.start("/bin/true", tty=tty)
    await until(running.is_done, "the end")

    for _ in range(3):
        running.child.write(b"x" * 100_000)

    assert await running.finish() == ExitStatus(0, None)


async def test_a_full_queue_whose_reader_goes_tells_that_there_is_room(nursery: Nursery) -> None:
    """Else a client that was paused would never be heard again."""
    running = nursery.start("/bin/sleep", "1000", tty=False)
    while running.child.write(b"x" * 10_000):
        pass

    running.child.signal(9)
    await until(lambda: "room" in running.listener.events, "room")

    assert await running.finish() == ExitStatus(None, 9)


async def test_memory_stays_flat_whatever_is_written_to_a_reader(nursery: Nursery) -> None:
    running = nursery.shell("exec cat > /dev/null", tty=False)
    await feed(running, b"x" * 1_000_000)
    before_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    for _ in range(20):
        await feed(running, b"x" * 1_000_000)
    running.child.end_input()
    await running.finish()

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kib < 8 * 1024


# Lines that the terminal will cut.


async def test_only_a_line_longer_than_the_terminal_keeps_is_at_risk(nursery: Nursery) -> None:
    child = nursery.start("/bin/cat").child

    assert not child.truncates(b"x" * 4095 + b"\n")
    assert child.truncates(b"x" * 4096 + b"\n")
    assert not child.truncates(b"\n".join([b"x" * 4000] * 10) + b"\r")


async def test_a_line_is_counted_over_all_that_types_it(nursery: Nursery) -> None:
    child = nursery.start("/bin/cat").child

    for _ in range(4):
        assert not child.truncates(b"x" * 1000)
    assert child.truncates(b"x" * 96)


async def test_a_person_is_warned_once_not_with_every_key_that_follows(nursery: Nursery) -> None:
    child = nursery.start("/bin/cat").child

    assert child.truncates(b"x" * 5000)

    assert not child.truncates(b"x")


async def test_what_an_editor_takes_key_by_key_is_no_line(nursery: Nursery) -> None:
    running = nursery.shell("stty raw; echo raw; read go; stty cooked; echo cooked; cat")
    await running.says(b"raw")

    assert not running.child.truncates(b"x" * 5000)
    running.child.write(b"\n")
    await running.says(b"cooked")

    assert not running.child.truncates(b"ls")


async def test_pipes_cut_nothing(nursery: Nursery) -> None:
    assert not nursery.start("/bin/cat", tty=False).child.truncates(b"x" * 100_000)


async def test_the_kernel_keeps_4095_bytes_of_a_line_as_we_say(nursery: Nursery) -> None:
    running = nursery.shell("stty -echo; echo ready; head -n 1 | wc -c")
    await running.says(b"ready")

    running.child.write(b"x" * 10_000 + b"\n")
    await running.finish()

    assert running.stdout.split()[-1] == b"4096"
