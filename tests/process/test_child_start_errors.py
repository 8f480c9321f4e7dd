"""Commands that cannot be started: the reason reaches us, and nothing is left."""

import errno
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from children import Nursery, Running, few_descriptors
from observing import count_ptys, list_children, list_descriptors

from ws_subprocess.errors import BridgeError, CapacityError, SpawnError
from ws_subprocess.model import UNCONFINED, Confinement, ExitStatus


def make_missing(folder: Path) -> str:
    return str(folder / "missing")


def make_not_executable(folder: Path) -> str:
    (folder / "plain").write_text("#!/bin/sh\n")
    return str(folder / "plain")


def make_directory(folder: Path) -> str:
    return str(folder)


def make_without_shebang(folder: Path) -> str:
    (folder / "bare").write_text("echo hi\n")
    (folder / "bare").chmod(0o755)
    return str(folder / "bare")


def make_bad_interpreter(folder: Path) -> str:
    (folder / "bad").write_text("#!/no/such/interpreter\n")
    (folder / "bad").chmod(0o755)
    return str(folder / "bad")


def make_loop(folder: Path) -> str:
    (folder / "loop").symlink_to(folder / "loop")
    return str(folder / "loop")


def make_below_a_file(folder: Path) -> str:
    (folder / "file").touch()
    return str(folder / "file" / "command")


def make_long_name(folder: Path) -> str:
    return str(folder / ("x" * 300))


COMMANDS = [
    (make_missing, errno.ENOENT),
    (make_not_executable, errno.EACCES),
    (make_directory, errno.EACCES),
    (make_without_shebang, errno.ENOEXEC),
    (make_bad_interpreter, errno.ENOENT),
    (make_loop, errno.ELOOP),
    (make_below_a_file, errno.ENOTDIR),
    (make_long_name, errno.ENAMETOOLONG),
]


@contextmanager
def nothing_changes() -> Iterator[None]:
    before = list_descriptors(), count_ptys(), list_children()
    yield
    assert (list_descriptors(), count_ptys(), list_children()) == before


@pytest_asyncio.fixture(params=[UNCONFINED, Confinement(umask=0o022)], ids=["posix_spawn", "fork"])
async def confinement(request: pytest.FixtureRequest, nursery: Nursery) -> Confinement:
    """Both ways to start a child."""
    nursery.warm_up()
    confinement: Confinement = request.param
    return confinement


def fail_to_start(nursery: Nursery, command: str, *args: str, **grant: Any) -> BridgeError:
    with nothing_changes(), pytest.raises(BridgeError) as caught:
        nursery.start(command, *args, **grant)
    return caught.value


@pytest.mark.parametrize(("make", "number"), COMMANDS, ids=[make.__name__[5:] for make, _ in COMMANDS])
async def test_a_command_that_cannot_run_is_refused_with_the_kernels_reason(
    nursery: Nursery, tty: bool, confinement: Confinement, tmp_path: Path, make: Callable[[Path], str], number: int
) -> None:
    command = make(tmp_path)

    error = fail_to_start(nursery, command, tty=tty, confinement=confinement)

    assert isinstance(error, SpawnError)
    assert error.code == "spawn_failed"
    assert command in error.detail
    assert os.strerror(number) in error.detail


async def test_more_arguments_than_the_kernel_takes_are_refused(
    nursery: Nursery, tty: bool, confinement: Confinement
) -> None:
    error = fail_to_start(nursery, "/bin/true", *["x" * 131_071] * 100, tty=tty, confinement=confinement)

    assert error.code == "spawn_failed"
    assert os.strerror(errno.E2BIG) in error.detail


@pytest.mark.parametrize("make", [make_missing, make_without_shebang, make_loop])
async def test_a_directory_that_cannot_be_entered_is_refused_as_such(
    nursery: Nursery, tty: bool, confinement: Confinement, tmp_path: Path, make: Callable[[Path], str]
) -> None:
    folder = make(tmp_path)

    error = fail_to_start(nursery, "/bin/true", tty=tty, cwd=folder, confinement=confinement)

    assert isinstance(error, SpawnError)
    assert error.code == "spawn_cwd"
    assert folder in error.detail


async def test_a_bad_command_in_a_good_directory_is_the_commands_fault(
    nursery: Nursery, tty: bool, confinement: Confinement, tmp_path: Path
) -> None:
    error = fail_to_start(nursery, "/no/such/command", tty=tty, cwd=str(tmp_path), confinement=confinement)

    assert error.code == "spawn_failed"


def start_until_refused(nursery: Nursery, *, tty: bool) -> tuple[list[Running], CapacityError]:
    started: list[Running] = []
    while len(started) < 100:
        try:
            started.append(nursery.start("/bin/sleep", "1000", tty=tty))
        except CapacityError as error:
            return started, error
    pytest.fail("never refused")


@pytest.mark.parametrize("spare", range(12))
async def test_running_out_of_descriptors_refuses_and_leaves_nothing_at_whatever_step_it_happens(
    nursery: Nursery, tty: bool, spare: int
) -> None:
    before = len(list_descriptors())

    with few_descriptors(spare):
        started, error = start_until_refused(nursery, tty=tty)

    assert error.code == "no_resources"
    assert error.retry_after_s
    # A terminal and its pidfd; or three pipes and theirs.
    assert len(list_descriptors()) - before == len(started) * (2 if tty else 4)
    assert list_children() >= {running.pid for running in started}


async def test_once_there_is_room_again_commands_start_again(nursery: Nursery, tty: bool) -> None:
    with few_descriptors(20):
        started, _ = start_until_refused(nursery, tty=tty)
        started.pop().kill()

        again = nursery.start("/bin/true", tty=tty)
        assert await again.finish() == ExitStatus(0, None)


async def test_a_child_that_cannot_be_watched_does_not_run(
    nursery: Nursery, tty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another thread may take the last descriptor between the spawn and its pidfd."""

    def fail(pid: int) -> int:
        raise OSError(errno.ENFILE, os.strerror(errno.ENFILE))

    monkeypatch.setattr(os, "pidfd_open", fail)

    error = fail_to_start(nursery, "/bin/sleep", "1000", tty=tty)

    assert isinstance(error, CapacityError)
