"""Scenarios for a process that owns itself, as the daemon does: it adopts orphans, which a test run must not.

`python owner_scenarios.py NAME FOLDER` plays one and prints what it saw as one line of JSON.
"""

import asyncio
import ctypes
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path

from children import SH, Nursery, Running, read_status
from observing import is_alive, list_children, list_descriptors, until

from ws_subprocess.model import Confinement, SessionId
from ws_subprocess.process import syscalls, tree
from ws_subprocess.process.cgroup import find_cgroups
from ws_subprocess.process.cgroup_places import find_own_places, open_places
from ws_subprocess.process.spawner import Spawner

HOSTILE = str(Path(__file__).parent / "hostile_tree.sh")
MEMBERS = 6
PR_SET_DUMPABLE = 4
KEYCTL_JOIN_SESSION_KEYRING = 1
KEY_SPEC_SESSION_KEYRING = -3
libc = ctypes.CDLL(None)
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def start_hostile(nursery: Nursery, folder: Path) -> Running:
    folder.mkdir(exist_ok=True)
    return nursery.start(SH, HOSTILE, str(folder))


def list_pids(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir())


async def until_complete(folder: Path) -> list[int]:
    await until(lambda: len(list_pids(folder)) == MEMBERS, "every member of the family")
    return list_pids(folder)


async def read_output(running: Running) -> str:
    await running.finish()
    return running.stdout.decode()


async def until_swept(nursery: Nursery) -> None:
    def is_swept() -> bool:
        nursery.spawner.sweep()
        return not list_children()

    await until(is_swept, "no children")


async def kill_all(running: Running) -> None:
    await until(lambda: not running.child.kill_tree(), "nothing left to kill")
    await running.finish()


async def end_one(nursery: Nursery, folder: Path) -> dict[str, object]:
    """One session with a hostile tree: nothing of it is left once it is closed."""
    before = list_descriptors()
    running = start_hostile(nursery, folder)
    pids = await until_complete(folder)
    await kill_all(running)
    await until_swept(nursery)
    return {
        "alive": [pid for pid in pids if is_alive(pid)],
        "children": sorted(list_children()),
        "descriptors": len(list_descriptors()) - len(before),
    }


async def end_one_of_two(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A session ends while another one lives: its tree goes, the other's does not lose a single process."""
    other = start_hostile(nursery, folder / "other")
    others = await until_complete(folder / "other")
    running = start_hostile(nursery, folder / "own")
    pids = await until_complete(folder / "own")
    await kill_all(running)
    nursery.spawner.sweep()
    seen = {"own": [pid for pid in pids if is_alive(pid)], "lost": [pid for pid in others if not is_alive(pid)]}
    await kill_all(other)
    await until_swept(nursery)
    return {**seen, "left": [pid for pid in pids + others if is_alive(pid)], "children": sorted(list_children())}


async def end_the_older_of_two(nursery: Nursery, folder: Path) -> dict[str, object]:
    """What hides of an ended session is older than every session that lives: that is how it is known."""
    running = start_hostile(nursery, folder / "own")
    pids = await until_complete(folder / "own")
    youngest = max(row.start_time for row in map(tree.read_row, pids) if row is not None)
    await until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S > youngest + 1, "a later tick")
    other = start_hostile(nursery, folder / "other")
    others = await until_complete(folder / "other")
    await kill_all(running)

    def are_gone() -> bool:
        # As the daemon does now and then: one that was no orphan yet is one the next time.
        nursery.spawner.sweep()
        return not any(map(is_alive, pids))

    await until(are_gone, "the end of the older tree")
    seen = {"lost": [pid for pid in others if not is_alive(pid)]}
    await kill_all(other)
    return seen


async def leave_orphans(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A tree that is empty but for ended orphans: they are reaped, and it counts as empty."""
    running = nursery.shell("for i in 1 2 3 4 5; do (sleep 0.0$i &) ; done; exit 3")
    await until(running.is_done, "exit and end of output")
    await until(lambda: not running.child.has_survivors(), "an empty tree")
    children = len(list_children())
    await running.finish()
    return {"children before closing": children, "children": sorted(list_children())}


async def sweep_beside_a_living_one(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A session's own background process, however well hidden, is not killed while its session lives."""
    running = start_hostile(nursery, folder)
    pids = await until_complete(folder)
    nursery.spawner.sweep()
    seen = {"lost": [pid for pid in pids if not is_alive(pid)]}
    await kill_all(running)
    return seen


async def sweep_beside_a_browser(nursery: Nursery, folder: Path) -> dict[str, object]:
    """What was started before the first session, such as the browser of `run --open`, belongs to none."""
    browser = await asyncio.create_subprocess_exec("sleep", "100")
    try:
        started = tree.read_row(browser.pid)
        assert started is not None
        nursery.spawner.sweep()
        await until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S > started.start_time + 1, "a tick")
        await nursery.shell("exit 0").finish()
        nursery.spawner.sweep()
        return {"alive": is_alive(browser.pid)}
    finally:
        browser.kill()
        await browser.wait()


async def sweep_without_descriptors(nursery: Nursery, folder: Path) -> dict[str, object]:
    """Clients may have all descriptors: a sweep then waits for the next, and does not bring the daemon down."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        nursery.spawner.sweep()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return {"swept": True}


async def end_where_children_are_not_waited_for(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A host program may ignore SIGCHLD: the status is lost, the session ends all the same."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    status = await nursery.shell("sleep 0.1; exit 3").finish()
    return {"code": status.code, "signal": status.signal, "descriptors": len(list_descriptors())}


async def forbid_setuid(nursery: Nursery, folder: Path) -> dict[str, object]:
    """Nothing that a daemon starts gains privileges; what was started before its first child still may."""
    nursery = Nursery(Spawner(64 * 1024, owns_process=True, allows_setuid=False))
    before = read_status(os.getpid())["NoNewPrivs"]
    usual = nursery.start("/bin/sleep", "1000")
    confined = nursery.start("/bin/sleep", "1000", confinement=Confinement(umask=0o027))
    try:
        children = [read_status(running.pid)["NoNewPrivs"] for running in (usual, confined)]
        return {"before": before, "children": children}
    finally:
        nursery.end()


async def tell_its_own_account_nothing(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A command of the daemon's own account cannot read what the daemon knows."""
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    script = "cat /proc/$PPID/environ | wc -c; (exec 3< /proc/$PPID/mem) && echo opened; readlink /proc/$PPID/fd/0"
    libc.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)  # As one that was started by this account.
    before = await read_output(nursery.shell(script, tty=False, cwd="/"))
    nursery = Nursery(Spawner(64 * 1024, owns_process=True))
    after = await read_output(nursery.shell(script, tty=False, cwd="/"))
    return {"before": before.split()[1:2], "after": after.split()}


async def hand_on_no_capability(nursery: Nursery, folder: Path) -> dict[str, object]:
    """What a service manager gave the daemon (AmbientCapabilities=) is not its commands'."""
    running = nursery.start("/bin/sleep", "1000")
    try:
        return {"ours": read_status(os.getpid())["CapEff"] != "0" * 16, "ambient": read_status(running.pid)["CapAmb"]}
    finally:
        running.kill()


async def leave_the_keyring(nursery: Nursery, folder: Path) -> dict[str, object]:
    """Keys in the daemon's session keyring are not for other accounts; for commands of its own they are."""
    assert syscalls.KEYCTL is not None
    syscalls.call(syscalls.KEYCTL, KEYCTL_JOIN_SESSION_KEYRING)
    name = b"ws-subprocess-test"
    add_key = {250: 248, 219: 217}[syscalls.KEYCTL]
    libc.syscall(add_key, b"user", name, b"secret", 6, KEY_SPEC_SESSION_KEYRING)
    confinements = (Confinement(umask=0o027), Confinement(user="nobody"))
    outputs = [
        await read_output(nursery.start("/bin/cat", "/proc/keys", tty=False, cwd="/", confinement=confinement))
        for confinement in confinements
    ]
    return {"seen": [name.decode() in output for output in outputs]}


async def sweep_beside_a_fork_server(nursery: Nursery, folder: Path) -> dict[str, object]:
    """What forks for the daemon is no stray, however much younger than the first child it is."""
    await nursery.shell("exit 0").finish()
    first = time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S
    await until(lambda: time.clock_gettime(time.CLOCK_BOOTTIME) * TICKS_PER_S > first + 2, "a later tick")
    confinement = Confinement(umask=0o027)
    await nursery.shell("exit 0", confinement=confinement).finish()
    servers = list_children()
    nursery.spawner.sweep()
    status = await nursery.shell("exit 3", confinement=confinement).finish()
    return {"servers": len(servers), "same": list_children() == servers, "code": status.code}


async def end_with_sessions_just_killed(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A daemon that ends at once does not wait for what it has killed, but leaves no group of it behind."""
    script = "for i in 1 2 3 4 5 6 7 8; do (setsid sleep 1000 &); done; echo ready; sleep 1000"
    for _ in range(30):
        running = nursery.shell(script, tty=False, confinement=Confinement(processes=30))
        await running.says(b"ready")
        running.child.kill_tree()
        running.close()
        nursery.spawner.close()
        if left := list(open_places(find_own_places(), may_move=False)["pids"].glob(f"ws-subprocess.{os.getpid()}.*")):
            return {"left": len(left)}
    return {"left": 0}


async def outlive_a_killed_daemon(nursery: Nursery, folder: Path) -> dict[str, object]:
    """A daemon that is killed leaves groups behind; the next one removes them when their processes have gone."""
    pid = os.fork()
    if pid == 0:
        find_cgroups(may_move=False).make(SessionId("5e55"), None, 20)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)  # noqa: ASYNC222 - it is dead already
    (left,) = list(open_places(find_own_places(), may_move=False)["pids"].glob(f"ws-subprocess.{pid}.*"))
    Spawner(64 * 1024, owns_process=True)
    return {"left": left.exists()}


async def main(name: str, folder: Path) -> None:
    nursery = Nursery(Spawner(64 * 1024, owns_process=True))
    try:
        print(json.dumps(await globals()[name](nursery, folder)))
    finally:
        nursery.end()
        nursery.spawner.sweep()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
