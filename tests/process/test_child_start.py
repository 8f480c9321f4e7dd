"""What a child finds when it begins to run."""

import os
import pwd
import signal
import socket
from pathlib import Path

import pytest
from children import Nursery, read_command_line, read_status
from observing import until

from ws_subprocess.model import ExitStatus, Size
from ws_subprocess.process.spawner import Spawner

BASE = {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG"}


async def test_the_terminal_has_its_size_before_the_command_runs(nursery: Nursery) -> None:
    running = nursery.start("/bin/stty", "size", size=Size(rows=31, cols=97))

    await running.finish()

    assert running.stdout == b"31 97\r\n"


async def test_it_leads_a_session_with_the_terminal_as_its_controlling_one(nursery: Nursery) -> None:
    running = nursery.shell("tty; echo here > /dev/tty; read -r stat < /proc/$$/stat; echo $stat")

    await running.finish()

    name, here, stat = running.stdout.decode().split("\r\n")[:3]
    pid, _, _, _, group, session, _, foreground = stat.split()[:8]
    assert name.startswith("/dev/pts/")
    assert here == "here"
    assert {pid, group, session, foreground} == {str(running.pid)}


async def test_without_a_terminal_it_has_none_at_all(nursery: Nursery) -> None:
    running = nursery.shell("tty; echo x > /dev/tty", tty=False)

    await running.finish()

    assert running.stdout == b"not a tty\n"
    assert b"/dev/tty" in running.stderr


async def test_its_environment_is_built_from_nothing(
    nursery: Nursery, tty: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DAEMON_SECRET", "hunter2")
    running = nursery.start("/usr/bin/env", "-0", tty=tty, env={"LAB": "7 = x\n", "LANG": "de_DE.UTF-8"})
    await running.finish()

    entries = running.stdout.replace(b"\r\n", b"\n").split(b"\0")[:-1]
    found = dict(entry.decode().split("=", 1) for entry in entries)

    account = pwd.getpwuid(os.getuid())
    expected = BASE | {"TERM", "WS_SUBPROCESS_SESSION", "LAB"} | ({"COLORTERM"} if tty else set())
    assert set(found) == expected
    assert len(entries) == len(expected), "none stands twice"
    assert found["HOME"] == account.pw_dir
    assert found["USER"] == found["LOGNAME"] == account.pw_name
    assert found["LANG"] == "de_DE.UTF-8"
    assert found["LAB"] == "7 = x\n"
    assert found["TERM"] == ("xterm-256color" if tty else "dumb")
    assert found["WS_SUBPROCESS_SESSION"] == running.child.session


async def test_it_has_three_descriptors_whatever_is_open_here(nursery: Nursery, tty: bool, tmp_path: Path) -> None:
    others = [nursery.start("/bin/sleep", "1000", tty=tty) for _ in range(5)]
    (tmp_path / "file").touch()
    strays = [os.open(tmp_path / "file", os.O_RDONLY), os.open(tmp_path, os.O_RDONLY)]
    sockets = socket.socketpair()
    for fd in (*strays, sockets[0].fileno()):
        os.set_inheritable(fd, True)
    try:
        running = nursery.start("/bin/sleep", "1000", tty=tty)

        # Its loader opens libraries for a moment; what was inherited would stay.
        await until(lambda: set(os.listdir(f"/proc/{running.pid}/fd")) == {"0", "1", "2"}, "three descriptors")
    finally:
        for fd in strays:
            os.close(fd)
        for end in sockets:
            end.close()

    assert len(others) == 5


async def test_its_signals_are_neither_blocked_nor_ignored_whatever_ours_are(nursery: Nursery, tty: bool) -> None:
    ours = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP)}
    blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1, signal.SIGTERM, signal.SIGINT})
    try:
        running = nursery.start("/bin/sleep", "1000", tty=tty)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        for number, handler in ours.items():
            signal.signal(number, handler)

    status = read_status(running.pid)

    assert int(status["SigBlk"], 16) == 0
    # glibc keeps 32 and 33 for itself: no program can set or see them.
    assert int(status["SigIgn"], 16) & ~(0b11 << 31) == 0
    running.child.signal(signal.SIGTERM)
    assert await running.finish() == ExitStatus(None, signal.SIGTERM)


async def test_it_runs_in_the_granted_directory(nursery: Nursery, tty: bool, tmp_path: Path) -> None:
    folder = tmp_path / "a b\u00e9"
    folder.mkdir()
    running = nursery.start("/bin/pwd", tty=tty, cwd=str(folder))

    await running.finish()

    assert running.stdout.rstrip() == str(folder).encode()


async def test_without_one_it_runs_in_the_daemons_directory(nursery: Nursery) -> None:
    running = nursery.start("/bin/pwd")

    await running.finish()

    assert running.stdout.rstrip() == os.getcwd().encode()


async def test_its_arguments_arrive_byte_for_byte_and_no_shell_sees_them(nursery: Nursery) -> None:
    args = ("$(id)", "; exit 9 |", "*", "~", "", " ", "a\nb", "\u00e9\U0001f600", "--", "-n", "%s", "\x7f\x01")
    running = nursery.start("/usr/bin/printf", "%s\\0", *args, tty=False)

    await running.finish()

    assert running.stdout.decode().split("\0")[:-1] == list(args)


async def test_its_name_is_the_path_it_was_granted_as(nursery: Nursery) -> None:
    running = nursery.start("/bin/sleep", "1000")

    # exec lets us go on before it has laid out the arguments.
    await until(lambda: read_command_line(running.pid), "its arguments")
    assert read_command_line(running.pid) == b"/bin/sleep\x001000\0"


async def test_it_gets_the_limit_of_open_files_that_children_are_to_have() -> None:
    nursery = Nursery(Spawner(64 * 1024, owns_process=False, child_nofile=200))
    running = nursery.shell("read go; ulimit -S -n", tty=False)
    running.child.write(b"go\n")

    await running.finish()

    assert running.stdout == b"200\n"
