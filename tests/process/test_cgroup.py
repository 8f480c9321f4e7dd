"""Control groups: what a limited session cannot exceed, that it ends wholly, and that no group is left."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio
from children import SH, Nursery, Running, read_command_line
from observing import is_alive, until

from ws_subprocess.model import Confinement, ExitStatus, SessionId
from ws_subprocess.process import tree
from ws_subprocess.process.cgroup import Cgroup, CgroupMaker, find_cgroups, remove_leftovers
from ws_subprocess.process.cgroup_places import find_own_places, open_places
from ws_subprocess.process.spawner import Spawner

ID = SessionId("5e55")
MIB = 1024 * 1024
CONTROLLERS = open_places(find_own_places(), may_move=False)

# Where a usual machine has version 1. Found without the code under test: should that find nothing there, tests fail.
HAS_PIDS, HAS_MEMORY = (os.access(f"/sys/fs/cgroup/{name}", os.W_OK) for name in ("pids", "memory"))
MOUNTS = map(str.split, Path("/proc/self/mounts").read_text().splitlines())
HAS_UNIFIED = any(kind == "cgroup2" and os.access(path, os.W_OK) for _, path, kind, *_ in MOUNTS)

pids_here = pytest.mark.skipif(
    not HAS_PIDS and "pids" not in CONTROLLERS, reason="this machine has no pids cgroup that is ours to write"
)
memory_here = pytest.mark.skipif(
    not HAS_MEMORY and "memory" not in CONTROLLERS, reason="this machine has no memory cgroup that is ours to write"
)


def list_groups() -> list[Path]:
    return [path for folder in find_own_places().folders for path in folder.glob(f"ws-subprocess.{os.getpid()}.*")]


@pytest.fixture(autouse=True)
def no_group_is_left() -> Iterator[None]:
    yield
    assert not list_groups()


@pytest_asyncio.fixture
async def nursery() -> AsyncIterator[Nursery]:
    nursery = Nursery(Spawner(64 * 1024, owns_process=False))
    yield nursery
    nursery.end()


def join(folder: Path, script: str) -> subprocess.Popen[bytes]:
    """Start a process that enters a group by itself."""
    return subprocess.Popen([SH, "-c", f'echo 0 > "$0/cgroup.procs"; {script}', str(folder)], stdout=subprocess.PIPE)


async def end(running: Running) -> None:
    await until(lambda: not running.child.kill_tree(), "nothing left to kill")
    await running.finish()


@pids_here
async def test_a_fork_bomb_stays_within_its_limit_and_ends_wholly(nursery: Nursery) -> None:
    bomb = nursery.shell("bomb() { bomb | bomb & }; bomb; sleep 1000", confinement=Confinement(processes=20))
    group = bomb.child.cgroup
    assert group is not None
    peak = 0

    def has_exploded() -> bool:
        nonlocal peak
        peak = max(peak, len(group.list_pids()))
        return b"fork" in bomb.stdout.lower()  # "Cannot fork"

    await until(has_exploded, "the limit")
    other = await nursery.start("/bin/true", confinement=Confinement(processes=20)).finish()
    usual = await nursery.start("/bin/true").finish()
    members = group.list_pids()
    await end(bomb)

    assert 2 <= peak <= 20
    assert other == usual == ExitStatus(0, None)
    assert not any(map(is_alive, members))
    assert group.list_pids() == set()


@memory_here
@pytest.mark.parametrize("user", [None, "nobody"])
async def test_who_takes_too_much_memory_dies_alone(nursery: Nursery, user: str | None) -> None:
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can become somebody else")
    beside = nursery.start("/bin/cat", confinement=Confinement(user=user, memory_bytes=32 * MIB))
    # tail keeps what has no line end.
    hog = nursery.shell(
        "head -c 200000000 /dev/zero | tail -n 1 > /dev/null; echo survived; kill -9 $$",
        confinement=Confinement(user=user, memory_bytes=32 * MIB),
    )

    status = await hog.finish()

    assert status == ExitStatus(None, 9)
    beside.child.write(b"fine\n")
    await beside.says(b"fine")
    await end(beside)


@memory_here
async def test_the_memory_of_the_whole_tree_counts(nursery: Nursery) -> None:
    one = "head -c 20000000 /dev/zero | tail -n 1 | (read x; sleep 1000)"
    few = nursery.shell(f"{one} & {one} & {one} & sleep 1000", confinement=Confinement(memory_bytes=32 * MIB))
    assert few.child.cgroup is not None
    files = (folder / name for folder in few.child.cgroup.folders for name in ("memory.oom_control", "memory.events"))
    (counts,) = (file for file in files if file.exists())

    def has_killed() -> bool:
        return "oom_kill 0" not in counts.read_text()

    await until(has_killed, "a process of the tree was killed for memory")
    await end(few)


@pids_here
async def test_a_member_is_found_by_its_group_however_it_hides(nursery: Nursery) -> None:
    """Neither parent, nor session, nor environment, nor a descriptor of it is left, only the group."""
    hidden = "setsid env -i /bin/sleep 1001 < /dev/null > /dev/null 2>&1 &"
    running = nursery.shell(f"({hidden}) ; echo ready; sleep 1000", confinement=Confinement(processes=20))
    await running.says(b"ready")
    assert running.child.cgroup is not None

    def find_hidden() -> set[int]:
        pids = (row.pid for row in running.child.find_members())
        return {pid for pid in pids if read_command_line(pid) == b"/bin/sleep\x001001\x00"}

    await until(find_hidden, "the hidden one")
    (pid,) = find_hidden()
    assert pid not in {row.pid for row in tree.find_members(running.pid, running.child.session, frozenset())}
    await end(running)

    assert not is_alive(pid)


@pids_here
async def test_a_start_that_fails_leaves_no_group(nursery: Nursery) -> None:
    with pytest.raises(Exception, match="Cannot start command"):
        nursery.start("/no/such/command", confinement=Confinement(processes=20, memory_bytes=32 * MIB))

    assert not list_groups()


@pids_here
async def test_a_group_that_is_still_busy_is_removed_by_a_later_try(nursery: Nursery) -> None:
    maker = find_cgroups(may_move=False)
    group = maker.make(ID, None, 20)
    assert group is not None
    (folder,) = group.folders
    member = join(folder, "echo in; exec sleep 1000")
    assert member.stdout is not None
    member.stdout.readline()

    maker.release(group)
    assert folder.exists()
    member.kill()
    member.communicate()
    maker.retry()

    assert not folder.exists()


@pids_here
def test_empty_groups_of_a_daemon_that_is_no_more_are_removed_and_no_others() -> None:
    folder = CONTROLLERS["pids"]
    dead = subprocess.Popen(["/bin/true"])
    dead.wait()
    ours = tree.read_row(os.getpid())
    assert ours is not None
    leftover = folder / f"ws-subprocess.{dead.pid}.1.{ID}"
    reused = folder / f"ws-subprocess.{os.getpid()}.{ours.start_time - 1}.{ID}"
    living = folder / f"ws-subprocess.{os.getpid()}.{ours.start_time}.{ID}"
    for path in (leftover, reused, living):
        path.mkdir()

    remove_leftovers([folder])

    assert [path.exists() for path in (leftover, reused, living)] == [False, False, True]
    living.rmdir()


def test_nothing_is_made_where_nothing_can_be_limited() -> None:
    assert CgroupMaker({}).make(ID, 1 << 20, 20) is None


# Version 2, as far as a machine with version 1 has it: real groups without controllers.


@pytest.mark.skipif(not HAS_UNIFIED, reason="this machine has no cgroup v2 that is ours to write")
def test_what_a_unified_group_holds_is_known_and_killed_by_the_kernel() -> None:
    own = find_own_places().v2
    assert own is not None
    folder = own / f"ws-subprocess-test-{os.getpid()}"
    folder.mkdir()
    group = Cgroup((folder,))
    member = join(folder, "sleep 1000 & echo in; exec sleep 1000")
    assert member.stdout is not None
    member.stdout.readline()
    pids = group.list_pids()

    group.kill()
    member.wait()

    assert member.pid in pids
    assert len(pids) == 2
    member.stdout.close()
    while not group.remove():
        pass
    assert not folder.exists()
