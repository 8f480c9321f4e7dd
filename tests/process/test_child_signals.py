"""Signals: to whom they go, and that nobody else gets them."""

import os
import signal

from children import Nursery
from observing import until

from ws_subprocess.model import ExitStatus, Size

# A shell with job control whose foreground is another group than its own.
JOB = "set -m; trap 'echo leader' INT TERM; bash -c 'trap \"echo job\" INT TERM; echo ready; {wait}'; echo after"
WAIT = "while :; do sleep 0.02; done"


async def test_an_interrupt_reaches_the_foreground_even_where_ctrl_c_does_not(nursery: Nursery) -> None:
    running = nursery.shell("stty -isig; echo ready; exec sleep 1000")
    await running.says(b"ready")

    running.child.write(b"\x03")
    running.child.signal(signal.SIGINT)

    assert await running.finish() == ExitStatus(None, signal.SIGINT)


async def test_ctrl_c_is_a_byte_that_the_terminal_turns_into_a_signal(nursery: Nursery) -> None:
    running = nursery.shell("echo ready; exec sleep 1000")
    await running.says(b"ready")

    running.child.write(b"\x03")

    assert await running.finish() == ExitStatus(None, signal.SIGINT)


async def test_an_interrupt_goes_to_the_foreground_job_and_not_to_the_shell(nursery: Nursery) -> None:
    running = nursery.start("/bin/bash", "-c", JOB.format(wait=WAIT))
    await running.says(b"ready")

    running.child.signal(signal.SIGINT)
    await running.says(b"job")

    assert b"leader" not in running.stdout


async def test_terminate_goes_to_the_command_itself(nursery: Nursery) -> None:
    running = nursery.start("/bin/bash", "-c", JOB.format(wait="sleep 0.2"))
    await running.says(b"ready")

    running.child.signal(signal.SIGTERM)
    await running.says(b"leader")

    assert b"job" not in running.stdout
    await running.finish()


async def test_with_pipes_every_signal_goes_to_the_command_itself(nursery: Nursery) -> None:
    running = nursery.shell("trap 'echo int; exit 3' INT; echo ready; while :; do sleep 0.02; done", tty=False)
    await running.says(b"ready")

    running.child.signal(signal.SIGINT)

    assert await running.finish() == ExitStatus(3, None)
    assert running.stdout == b"ready\nint\n"


async def test_a_signal_after_the_exit_goes_nowhere(nursery: Nursery, tty: bool) -> None:
    running = nursery.shell("exit 2", tty=tty)
    await until(running.is_done, "the end")

    running.child.signal(signal.SIGKILL)
    running.child.signal(signal.SIGINT)

    assert await running.finish() == ExitStatus(2, None)


async def test_a_signal_to_a_command_that_a_host_program_has_reaped_goes_nowhere(nursery: Nursery) -> None:
    running = nursery.start("/bin/sleep", "1000", tty=False)
    os.kill(running.pid, signal.SIGKILL)
    os.waitpid(running.pid, 0)  # noqa: ASYNC222 - it was killed just now

    assert running.child.signal(signal.SIGTERM)

    assert (await running.finish()).is_unknown


async def test_a_new_size_is_seen_and_told(nursery: Nursery) -> None:
    running = nursery.shell("trap 'stty size; exit' WINCH; echo ready; while :; do sleep 0.02; done")
    await running.says(b"ready")

    running.child.resize(Size(rows=2000, cols=1))
    await running.finish()

    assert running.stdout == b"ready\r\n2000 1\r\n"


async def test_hanging_up_reaches_the_command_and_the_foreground_job(nursery: Nursery) -> None:
    job = "bash -c 'trap \"echo job; exit\" HUP; echo ready; while :; do sleep 0.02; done'"
    running = nursery.start("/bin/bash", "-c", f"set -m; trap 'echo leader' HUP; {job}; echo after")
    await running.says(b"ready")

    running.child.hang_up()
    await running.finish()

    assert b"job" in running.stdout
    assert b"leader" in running.stdout


async def test_hanging_up_wakes_a_command_that_is_stopped(nursery: Nursery) -> None:
    running = nursery.shell("echo ready; kill -STOP $$; sleep 1000")
    await running.says(b"ready")

    running.child.hang_up()

    assert await running.finish() == ExitStatus(None, signal.SIGHUP)


async def test_hanging_up_what_has_gone_hurts_nobody(nursery: Nursery, tty: bool) -> None:
    running = nursery.start("/bin/true", tty=tty)
    await until(running.is_done, "the end")

    running.child.hang_up()

    assert await running.finish() == ExitStatus(0, None)
