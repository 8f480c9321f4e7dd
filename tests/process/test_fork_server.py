"""The process that forks in the daemon's place: its children are the daemon's, and it is never missed for long."""

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from observing import is_alive, list_children, until

from ws_subprocess.process import tree
from ws_subprocess.process.become import Step, StepError
from ws_subprocess.process.fork_exec import Confines, build_order, fork_here, spawn_confined
from ws_subprocess.process.fork_server import ForkServer
from ws_subprocess.process.posix_spawn import FileActions
from ws_subprocess.process.wiring import wire_pipes

ROOT = Path(__file__).parents[2]


@pytest.fixture
def server() -> Iterator[ForkServer]:
    server = ForkServer()
    yield server
    server.close()


def run(server: ForkServer | None, *argv: str) -> tuple[int, bytes]:
    """Return parent and output of a command that is forked by `server`, or here."""
    wiring = wire_pipes()
    try:
        pid = spawn_confined(build_order(argv, {"A": "b"}, wiring.actions, "/", Confines(umask=0o027)), server)
        wiring.close_childs()
        row = tree.read_row(pid)
        os.waitpid(pid, 0)
        return row.parent if row else 0, os.read(wiring.output_fds[1], 4096)
    except OSError:
        wiring.close_childs()
        raise
    finally:
        wiring.close_ours()


@pytest.mark.parametrize("is_here", [True, False], ids=["forked here", "forked by the server"])
def test_whoever_forks_it_is_our_child_and_the_same(server: ForkServer, is_here: bool) -> None:
    script = "umask; pwd; echo $A; ls /proc/self/fd | wc -l"

    parent, output = run(None if is_here else server, "/bin/sh", "-c", script)

    # ls itself reads the folder by a fourth descriptor.
    assert output.split() == [b"0027", b"/", b"b", b"4"]
    assert parent == os.getpid()


@pytest.mark.parametrize("is_here", [True, False], ids=["forked here", "forked by the server"])
def test_whoever_forks_it_why_it_failed_is_told(server: ForkServer, is_here: bool) -> None:
    with pytest.raises(StepError) as caught:
        run(None if is_here else server, "/no/such/command")

    assert caught.value.step is Step.EXEC
    assert list_children() == set(server.pids)


@pytest.mark.parametrize("is_here", [True, False], ids=["forked here", "forked by the server"])
def test_whoever_forks_it_what_somebody_left_inheritable_is_closed(server: ForkServer, is_here: bool) -> None:
    run(server, "/bin/true")
    stray = os.open("/dev/null", os.O_RDONLY)
    os.set_inheritable(stray, True)
    try:
        _, output = run(None if is_here else server, "/bin/ls", "/proc/self/fd")
    finally:
        os.close(stray)

    assert output.split() == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("is_here", [True, False], ids=["forked here", "forked by the server"])
def test_a_child_whose_parent_does_not_tell_it_to_begin_never_becomes_the_command(
    server: ForkServer, is_here: bool, tmp_path: Path
) -> None:
    """The server may have died with its answer, or the daemon: nobody would know of the command."""
    order = build_order(["/usr/bin/touch", str(tmp_path / "run")], {}, FileActions(), None, Confines())
    ours, its = socket.socketpair()
    with ours, its:
        pid = fork_here(order, ours, its) if is_here else server.fork(order, its.fileno())

    _, status = os.waitpid(pid, 0)

    assert os.waitstatus_to_exitcode(status) == 127
    assert not (tmp_path / "run").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can look into it")
def test_of_ours_it_has_the_channel_and_stderr_alone(server: ForkServer) -> None:
    run(server, "/bin/true")
    (pid,) = server.pids

    fds = {int(fd): os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")}

    assert fds.pop(2) == os.readlink("/proc/self/fd/2")
    assert fds.pop(0) == fds.pop(1) == "/dev/null"
    (channel,) = fds.values()
    assert channel.startswith("socket:")
    assert Path(f"/proc/{pid}/environ").read_bytes() == b""


def test_a_program_without_standard_descriptors_hears_why_a_start_failed(tmp_path: Path) -> None:
    """Received descriptors would else get the numbers that the child's own are to have."""
    program = (
        "import sys; from test_fork_server import *; server = ForkServer()\n"
        "try: run(server, '/no/such/command')\n"
        "except StepError as exc: open(sys.argv[1], 'w').write(exc.step.name)\n"
        "finally: server.close()"
    )
    path = os.pathsep.join([str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "process")])
    command = ["/bin/sh", "-c", 'exec "$@" 0<&- 1>&- 2>&-', "sh", sys.executable, "-c", program, str(tmp_path / "told")]

    subprocess.run(command, env={"PYTHONPATH": path}, check=True)

    assert (tmp_path / "told").read_text() == "EXEC"


def test_an_order_may_be_longer_than_any_socket_takes(server: ForkServer) -> None:
    _, output = run(server, "/bin/sh", "-c", "echo $#", *["x" * 100_000] * 10)

    assert output == b"9\n"


async def test_one_that_was_killed_is_replaced(server: ForkServer) -> None:
    run(server, "/bin/true")
    (first,) = server.pids
    os.kill(first, signal.SIGKILL)
    await until(lambda: not is_alive(first), "its end")

    assert run(server, "/bin/echo", "again")[1] == b"again\n"

    assert server.pids != {first}
    assert first not in list_children()


async def test_one_that_was_killed_is_missed_at_once_though_a_child_of_it_waits() -> None:
    server = ForkServer(answer_max_s=20.0)
    ours, its = socket.socketpair()
    with ours, its, contextlib.closing(server):
        waiting = server.fork(build_order(["/bin/true"], {}, FileActions(), None, Confines()), its.fileno())
        (first,) = server.pids
        os.kill(first, signal.SIGKILL)
        await until(lambda: not is_alive(first), "its end")
        began_s = time.monotonic()

        with contextlib.suppress(StepError):  # The child may not have let go of the channel yet: that costs one start.
            run(server, "/bin/true")

        assert time.monotonic() - began_s < 10.0
        assert run(server, "/bin/echo", "again")[1] == b"again\n"
    os.waitpid(waiting, 0)  # noqa: ASYNC222 - it ends at once


def test_one_that_does_not_answer_costs_one_start_and_is_replaced() -> None:
    server = ForkServer(answer_max_s=2.0)
    try:
        run(server, "/bin/true")
        (first,) = server.pids
        os.kill(first, signal.SIGSTOP)

        with pytest.raises(StepError) as caught:
            run(server, "/bin/true")

        assert caught.value.errno == errno.EAGAIN, "which is told as: come back later"
        assert not is_alive(first)
        assert run(server, "/bin/echo", "again")[1] == b"again\n"
    finally:
        server.close()


async def test_it_ends_with_its_daemon() -> None:
    program = (
        "import os, signal; from ws_subprocess.process.fork_server import ForkServer; server = ForkServer();"
        "server._start(); print(*server.pids, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(  # noqa: ASYNC221 - it ends at once
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT)}, capture_output=True, check=False
    )
    pid = int(done.stdout)

    await until(lambda: not is_alive(pid), "the end of the server")
