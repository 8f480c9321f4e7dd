"""The process that forks in the daemon's place: its children are the daemon's, and it is never missed for long."""

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from observing import is_alive, list_children, until

from ws_subprocess.process import tree
from ws_subprocess.process.become import Step, StepError
from ws_subprocess.process.fork_exec import Confines, build_order, spawn_confined
from ws_subprocess.process.fork_server import ForkServer
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
