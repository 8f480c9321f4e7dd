"""Commands that run as another account: who they are, what is theirs, and that there is no way back."""

import grp
import os
import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from children import Nursery, read_status
from observing import list_children, list_descriptors, until

from ws_subprocess.errors import SpawnError
from ws_subprocess.model import Confinement, ExitStatus
from ws_subprocess.process.accounts import AccountError, find_account, find_missing_capabilities
from ws_subprocess.process.confinement import ChildDefaults
from ws_subprocess.process.spawner import Spawner

NOBODY = pwd.getpwnam("nobody")
AS_NOBODY = Confinement(user="nobody")

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


@contextmanager
def not_root() -> Iterator[None]:
    os.seteuid(NOBODY.pw_uid)
    try:
        yield
    finally:
        os.seteuid(0)


def refuse(
    nursery: Nursery, confinement: Confinement, command: str = "/bin/true", cwd: str | None = None
) -> SpawnError:
    nursery.warm_up()
    before = list_descriptors(), list_children()
    with pytest.raises(SpawnError) as caught:
        nursery.start(command, confinement=confinement, cwd=cwd)
    assert (list_descriptors(), list_children()) == before
    return caught.value


@as_root
async def test_it_is_that_account_wholly_and_has_no_capability(nursery: Nursery, tty: bool) -> None:
    running = nursery.start("/bin/sleep", "1000", tty=tty, confinement=AS_NOBODY)

    status = read_status(running.pid)

    # Real, effective, saved, and for files.
    assert status["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert status["Gid"].split() == [str(NOBODY.pw_gid)] * 4
    groups = os.getgrouplist("nobody", NOBODY.pw_gid)
    assert set(map(int, status["Groups"].split())) == set(groups)
    assert 0 not in groups
    for capabilities in ("CapEff", "CapPrm", "CapInh", "CapAmb"):
        assert int(status[capabilities], 16) == 0, capabilities


@as_root
@pytest.mark.parametrize("wish", [["--reuid=0"], ["--regid=0"], ["--groups=0"], ["--inh-caps=+all"]])
async def test_it_cannot_come_back(nursery: Nursery, wish: list[str]) -> None:
    clear = ["--clear-groups"] if wish == ["--regid=0"] else []
    running = nursery.start("/usr/bin/setpriv", *wish, *clear, "/bin/echo", "back", confinement=AS_NOBODY)

    status = await running.finish()

    assert status.code != 0
    assert b"back" not in running.stdout


@as_root
async def test_its_environment_is_that_accounts(nursery: Nursery) -> None:
    running = nursery.start("/usr/bin/env", "-0", tty=False, confinement=AS_NOBODY)

    await running.finish()

    found = dict(entry.split("=", 1) for entry in running.stdout.decode().split("\0")[:-1])
    assert (found["USER"], found["LOGNAME"]) == ("nobody", "nobody")
    assert (found["HOME"], found["SHELL"]) == (NOBODY.pw_dir, NOBODY.pw_shell)


@as_root
async def test_its_terminal_is_its_own_and_can_be_opened_again(nursery: Nursery) -> None:
    running = nursery.shell('exec 3<>"$(tty)" && echo opened >&3; read end', confinement=AS_NOBODY)
    await running.says(b"opened")

    terminal = os.stat(os.readlink(f"/proc/{running.pid}/fd/0"))

    assert terminal.st_uid == NOBODY.pw_uid
    assert terminal.st_gid == grp.getgrnam("tty").gr_gid
    assert stat.S_IMODE(terminal.st_mode) == 0o620


@as_root
async def test_its_pipes_can_be_opened_again(nursery: Nursery) -> None:
    running = nursery.shell("echo out > /dev/stdout; echo err > /dev/stderr", tty=False, confinement=AS_NOBODY)

    await running.finish()

    assert (running.stdout, running.stderr) == (b"out\n", b"err\n")


@as_root
async def test_a_group_may_be_named_beside_the_account_or_alone(nursery: Nursery) -> None:
    daemon = str(grp.getgrnam("daemon").gr_gid)

    both = nursery.start("/bin/sleep", "1000", confinement=Confinement(user="nobody", group="daemon"))
    alone = nursery.start("/bin/sleep", "1000", confinement=Confinement(group="daemon"))

    assert read_status(both.pid)["Gid"].split() == [daemon] * 4
    assert read_status(both.pid)["Uid"].split() == [str(NOBODY.pw_uid)] * 4
    assert read_status(alone.pid)["Gid"].split() == [daemon] * 4
    assert read_status(alone.pid)["Uid"].split() == ["0"] * 4


@as_root
async def test_the_default_account_is_taken_where_the_grant_names_none() -> None:
    nursery = Nursery(Spawner(64 * 1024, owns_process=False, defaults=ChildDefaults("nobody", "daemon")))
    try:
        usual = nursery.start("/bin/sleep", "1000")
        named = nursery.start("/bin/sleep", "1000", confinement=Confinement(user="daemon"))
        root = nursery.start("/bin/sleep", "1000", confinement=Confinement(user="root"))

        assert read_status(usual.pid)["Uid"].split()[0] == str(NOBODY.pw_uid)
        assert read_status(usual.pid)["Gid"].split()[0] == str(grp.getgrnam("daemon").gr_gid)
        assert read_status(named.pid)["Uid"].split()[0] == str(pwd.getpwnam("daemon").pw_uid)
        assert read_status(root.pid)["Gid"].split() == ["0"] * 4, "the default's group goes with the default's account"
    finally:
        nursery.end()


@as_root
async def test_it_can_be_signalled_hung_up_and_killed(nursery: Nursery) -> None:
    running = nursery.shell("trap '' HUP; (setsid sleep 1000 &); echo ready; sleep 1000", confinement=AS_NOBODY)
    await running.says(b"ready")

    running.child.hang_up()
    assert running.child.signal(15)
    await until(lambda: not running.child.kill_tree(), "the end of all")

    await running.finish()


@as_root
async def test_a_directory_that_the_account_may_not_enter_is_refused_though_root_might(
    nursery: Nursery, tmp_path: Path
) -> None:
    (tmp_path / "closed").mkdir(mode=0o700)

    error = refuse(nursery, AS_NOBODY, cwd=str(tmp_path / "closed"))

    assert error.code == "spawn_cwd"
    assert "Permission denied" in error.detail


@as_root
async def test_a_command_that_the_account_may_not_execute_is_refused(nursery: Nursery) -> None:
    folder = Path("/run") / f"ws-subprocess-test-{os.getpid()}"
    folder.mkdir(mode=0o755)
    try:
        (folder / "program").write_text("#!/bin/sh\n")
        (folder / "program").chmod(0o700)

        error = refuse(nursery, AS_NOBODY, command=str(folder / "program"))
    finally:
        (folder / "program").unlink()
        folder.rmdir()

    assert error.code == "spawn_failed"
    assert "Permission denied" in error.detail


@as_root
@pytest.mark.parametrize("confinement", [Confinement(user="no-such-user"), Confinement(group="no-such-group")])
async def test_an_unknown_account_is_refused_by_name(nursery: Nursery, confinement: Confinement) -> None:
    error = refuse(nursery, confinement)

    assert error.code == "spawn_user"
    assert str(confinement.user or confinement.group) in error.detail


@as_root
async def test_who_is_not_root_cannot_name_an_account(nursery: Nursery) -> None:
    with not_root(), pytest.raises(SpawnError) as caught:
        nursery.start("/bin/true", confinement=AS_NOBODY)

    error = caught.value
    assert error.code == "spawn_user"
    assert "only root" in error.detail


@as_root
def test_the_daemons_own_account_may_be_named_too_by_root_alone() -> None:
    with not_root(), pytest.raises(AccountError, match="only root"):
        find_account("nobody")

    assert find_account("root").uid == 0


def test_missing_capabilities_are_told_by_name(tmp_path: Path) -> None:
    # CAP_CHOWN, CAP_KILL, CAP_SETGID, CAP_SETUID are bits 0, 5, 6, 7.
    for mask, missing in ((0b1110_0001, []), (0b0110_0001, ["CAP_SETUID"]), (0b1100_0000, ["CAP_CHOWN", "CAP_KILL"])):
        (tmp_path / "status").write_text(f"Name:\tx\nCapEff:\t{mask:016x}\n")
        assert find_missing_capabilities(tmp_path / "status") == missing


@as_root
async def test_root_without_the_right_to_change_users_is_told_which_one(tmp_path: Path) -> None:
    """What a container with fewer capabilities is."""
    program = (
        "from ws_subprocess.process.fork_exec import *; from ws_subprocess.process.accounts import find_account;"
        "from ws_subprocess.process.posix_spawn import FileActions;"
        "from ws_subprocess.cli.accounts import check_account;"
        "print(*check_account('nobody', ''));"
        "order = build_order(['/bin/true'], {}, FileActions(), None, Confines(account=find_account('nobody')));"
        "spawn_confined(order, None)"
    )
    done = subprocess.run(  # noqa: ASYNC221 - it ends at once
        ["/usr/bin/setpriv", "--bounding-set=-setuid", sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )

    assert "give the daemon CAP_SETUID [bad_user]" in done.stdout
    assert "StepError" in done.stderr
    assert "Operation not permitted" in done.stderr


@as_root
async def test_it_ends_with_its_own_exit_status(nursery: Nursery, tty: bool) -> None:
    assert await nursery.shell("exit 7", tty=tty, confinement=AS_NOBODY).finish() == ExitStatus(7, None)
