"""Commands that start confined: nothing but what they were given, limits that hold, errors that name the step.

What is refused whichever way a command is started: test_child_start_errors.
"""

import asyncio
import errno
import os
import resource
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import SH, Nursery, few_descriptors, read_status
from observing import is_alive, list_children, list_descriptors, until

from ws_subprocess.errors import CapacityError, SpawnError
from ws_subprocess.model import UNCONFINED, Confinement, ExitStatus, SessionId
from ws_subprocess.process.accounts import find_account
from ws_subprocess.process.become import Step, StepError
from ws_subprocess.process.cgroup import CgroupMaker
from ws_subprocess.process.confinement import NO_DEFAULTS, Confiner
from ws_subprocess.process.fork_exec import Confines, await_exec, build_order, spawn_confined
from ws_subprocess.process.spawner import Spawner
from ws_subprocess.process.wiring import wire_pipes

# Asks for the other way to start, and for nothing else that could be seen.
CONFINED = Confinement(umask=0o022)
ID = SessionId("5e55")


def test_whoever_is_not_confined_starts_the_usual_way() -> None:
    assert Confiner(NO_DEFAULTS, owns_process=False, child_nofile=100).confine(UNCONFINED, ID) is None


async def test_it_has_a_session_a_terminal_and_three_descriptors(nursery: Nursery) -> None:
    stray = os.open("/dev/null", os.O_RDONLY)
    sockets = socket.socketpair()
    for fd in (stray, sockets[0].fileno()):
        os.set_inheritable(fd, True)
    try:
        script = "echo here > /dev/tty; read -r stat < /proc/$$/stat; echo $stat; exec sleep 1000"
        running = nursery.shell(script, confinement=CONFINED)
        await running.says(b" (sh) ")
        await until(lambda: set(os.listdir(f"/proc/{running.pid}/fd")) == {"0", "1", "2"}, "three descriptors")
    finally:
        os.close(stray)
        for end in sockets:
            end.close()

    here, stat = running.stdout.decode().split("\r\n")[:2]
    pid, _, _, _, group, session, _, foreground = stat.split()[:8]
    assert here == "here"
    assert {pid, group, session, foreground} == {str(running.pid)}


async def test_its_signals_are_neither_blocked_nor_ignored_whatever_ours_are(nursery: Nursery, tty: bool) -> None:
    ours = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGPIPE, signal.SIGHUP)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT})
    try:
        running = nursery.start("/bin/sleep", "1000", tty=tty, confinement=CONFINED)
        still_blocked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in ours.items():
            signal.signal(number, handler)

    status = read_status(running.pid)

    assert int(status["SigBlk"], 16) == 0
    assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0
    assert still_blocked == blocked | {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT}


async def test_signals_that_arrive_meanwhile_are_the_parents(nursery: Nursery) -> None:
    """The child must not write to what wakes the parent's loop, nor run its handlers."""
    heard: list[int] = []
    # For good: one of its signals may reach a thread of ours that sleeps until after this test.
    signal.signal(signal.SIGUSR1, lambda number, _: heard.append(number))
    sender = await asyncio.create_subprocess_exec(SH, "-c", f"while kill -USR1 {os.getpid()}; do :; done")
    try:
        for _ in range(20):
            assert await nursery.start("/bin/true", confinement=CONFINED).finish() == ExitStatus(0, None)
    finally:
        sender.kill()
        await sender.wait()

    assert heard


async def test_it_has_its_limits_and_can_raise_none(nursery: Nursery) -> None:
    user = "nobody" if os.geteuid() == 0 else None  # root may raise what it likes (CAP_SYS_RESOURCE).
    asked = Confinement(user=user, open_files=64, cpu_s=30, umask=0o027, no_new_privs=True)
    script = "umask; ulimit -Sn; ulimit -Hn; ulimit -St; ulimit -Ht; grep NoNewPrivs /proc/self/status; ulimit -n 65"
    running = nursery.shell(script, tty=False, confinement=asked)

    await running.finish()

    assert running.stdout.split() == [b"0027", b"64", b"64", b"30", b"31", b"NoNewPrivs:", b"1"]
    assert b"ulimit" in running.stderr


async def test_a_limit_above_our_own_leaves_it_with_ours(nursery: Nursery) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    running = nursery.shell("ulimit -Hn; ulimit -Sn", tty=False, confinement=Confinement(open_files=2**62))

    await running.finish()

    assert running.stdout.split() == [str(hard).encode()] * 2


async def test_without_a_limit_of_its_own_it_gets_the_one_children_are_to_have() -> None:
    nursery = Nursery(Spawner(64 * 1024, owns_process=False, child_nofile=200))
    running = nursery.shell("ulimit -S -n", tty=False, confinement=CONFINED)

    await running.finish()
    nursery.end()

    assert running.stdout == b"200\n"


async def test_who_uses_up_its_processor_time_is_told_by_sigxcpu(nursery: Nursery) -> None:
    running = nursery.shell("while :; do :; done", confinement=Confinement(cpu_s=1))

    assert await running.finish() == ExitStatus(None, signal.SIGXCPU)


@pytest.mark.parametrize("spare", range(10))
async def test_running_out_of_descriptors_refuses_and_leaves_nothing_at_whatever_step_it_happens(
    nursery: Nursery, tty: bool, spare: int
) -> None:
    before = list_descriptors()

    def start_on_and_on() -> None:
        while True:
            nursery.start("/bin/sleep", "1000", tty=tty, confinement=CONFINED)

    with few_descriptors(spare), pytest.raises(CapacityError) as caught:
        start_on_and_on()

    assert caught.value.code == "no_resources"
    nursery.end()
    assert list_descriptors() == before


async def test_an_account_that_has_too_many_processes_starts_no_more(nursery: Nursery) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    nursery.start("/bin/sleep", "1000", confinement=Confinement(user="nobody"))
    wiring = wire_pipes()
    confines = Confines(limits=((resource.RLIMIT_NPROC, 0, 0),), account=find_account("nobody"))
    try:
        with pytest.raises(StepError) as caught:
            spawn_confined(build_order(["/bin/true"], {}, wiring.actions, None, confines), None)
    finally:
        wiring.close_childs()
        wiring.close_ours()

    assert (caught.value.step, caught.value.errno) == (Step.EXEC, errno.EAGAIN)


@contextmanager
def getting_ready() -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """Give a child that does not become the command, and our end of what it would close then."""
    ours, its = socket.socketpair()
    with ours:
        with its:
            child = subprocess.Popen(["/bin/sleep", "1000"], pass_fds=[its.fileno()])
        yield child, ours.fileno()
    assert not is_alive(child.pid)
    assert child.pid not in list_children()
    child.wait()


def test_a_start_that_hangs_in_the_kernel_is_given_up_and_killed() -> None:
    with getting_ready() as (child, fd), pytest.raises(StepError) as caught:
        await_exec(child.pid, fd, max_ms=10)

    assert caught.value.errno == errno.ETIMEDOUT


@pytest.mark.parametrize("goes_on", [False, True], ids=["stopped", "stopped and continued"])
async def test_a_start_that_another_process_of_the_account_stops_does_not_stop_us(goes_on: bool) -> None:
    """Else whoever runs `kill -STOP -1` in a session would halt all sessions with every start of that account."""
    with getting_ready() as (child, fd):
        child.send_signal(signal.SIGSTOP)
        await until(lambda: Path(f"/proc/{child.pid}/stat").read_text().split()[2] == "T", "its stop")
        if goes_on:
            child.send_signal(signal.SIGCONT)

        with pytest.raises(StepError) as caught:
            await_exec(child.pid, fd, max_ms=600_000)

    assert caught.value.errno == errno.EAGAIN, "which is told as: come back later"


# Without a control group to be had.


@pytest.fixture
def without_cgroups() -> Confiner:
    confiner = Confiner(NO_DEFAULTS, owns_process=False, child_nofile=None)
    confiner.cgroups = CgroupMaker({})
    return confiner


def test_memory_is_then_limited_by_the_address_space_of_each_process(without_cgroups: Confiner) -> None:
    confined = without_cgroups.confine(Confinement(memory_bytes=1 << 28), ID)

    assert confined is not None
    assert confined.cgroup is None
    assert confined.confines.address_space_bytes == 1 << 28


def test_processes_of_root_then_cannot_be_limited_and_nothing_is_pretended(without_cgroups: Confiner) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root is not held by RLIMIT_NPROC")
    with pytest.raises(SpawnError) as caught:
        without_cgroups.confine(Confinement(processes=20), ID)

    assert caught.value.code == "spawn_limits"
    assert "pids cgroup" in caught.value.detail


def test_processes_of_another_account_are_then_limited_by_its_number_of_them(without_cgroups: Confiner) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    confined = without_cgroups.confine(Confinement(processes=20, user="nobody"), ID)

    assert confined is not None
    assert (resource.RLIMIT_NPROC, 20, 20) in confined.confines.limits


def test_the_address_space_holds_a_command() -> None:
    wiring = wire_pipes()
    confines = Confines(address_space_bytes=64 << 20)
    # tail keeps what has no line end: more than it may have.
    script = "head -c 200000000 /dev/zero | tail -n 1 > /dev/null || echo held >&2"
    order = build_order([SH, "-c", script], {"PATH": "/bin:/usr/bin"}, wiring.actions, None, confines)
    pid = spawn_confined(order, None)
    wiring.close_childs()
    try:
        os.waitpid(pid, 0)
        assert b"held" in os.read(wiring.output_fds[2], 4096)
    finally:
        wiring.close_ours()
