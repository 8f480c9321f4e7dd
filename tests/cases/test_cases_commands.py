"""The catalogue's commands that may not or cannot be started: refused, with nothing left of the attempt."""

import asyncio
import errno
import os
import resource
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from answering import expect_refusals, knock
from catalogue import Entry, case
from daemon import Daemon, Reply
from daemon_process import PROGRAM, DaemonProcess, StartDaemon
from expecting import (
    Audit,
    assert_nothing_ran,
    dump,
    expect_http,
    variants,
)
from observing import until
from programs import run_program
from raw_peer import exchange
from running_server import handshake
from scripted_controller import ScriptedController
from scripted_server import Answer, respond

Start = Callable[..., Awaitable[Daemon]]
GRANT = {"command": "/bin/true"}


@case("CT-22")
async def test_a_command_that_is_not_on_the_list(start: Start, audit: Audit, tmp_path: Path, entry: Entry) -> None:
    folder = tmp_path / "allowed"
    folder.mkdir()
    true = tmp_path / "true"
    shutil.copy("/bin/true", true)
    true.chmod(0o755)
    (tmp_path / "symbolic").symlink_to(true)
    (tmp_path / "hard").hardlink_to(true)
    (folder / "symbolic").symlink_to("/bin/sh")
    daemon = await start(allow_commands=(str(true), f"{folder}/"))
    others = [
        tmp_path / "symbolic",
        tmp_path / "hard",
        folder / "symbolic",
        folder / ".." / "true",
        "/bin/sh",
        "/bin/true",
    ]

    await expect_refusals(
        entry, daemon, audit, {str(path): respond(dump({"command": str(path)})) for path in [*others, f"{folder}//x"]}
    )

    daemon.controller.answer = respond(dump({"command": str(true)}))
    assert (await knock(daemon)).status == 101
    await until(lambda: not len(daemon.app.registry), "no session")


@case("CT-33")
async def test_a_directory_that_cannot_be_worked_in(daemon: Daemon, audit: Audit, tmp_path: Path, entry: Entry) -> None:
    (tmp_path / "file").touch()
    secret = tmp_path / "secret"
    secret.mkdir(mode=0o700)
    os.chmod(tmp_path, 0o755)
    cwds = [
        "relative",
        "",
        ".",
        str(tmp_path / "missing"),
        str(tmp_path / "file"),
        "/proc/self/fd/9",
        "/proc",
        "//proc/1",
    ]
    answers: dict[str, Answer] = {cwd: respond(dump({**GRANT, "cwd": cwd})) for cwd in cwds}
    if os.geteuid() == 0:
        # Entered as the account that the command runs as, to whom it is closed.
        answers["unreadable"] = respond(dump({**GRANT, "cwd": str(secret), "user": "nobody"}))

    await expect_refusals(entry, daemon, audit, answers)


@case("CT-38")
async def test_a_command_that_cannot_be_executed(daemon: Daemon, audit: Audit, tmp_path: Path, entry: Entry) -> None:
    def make(name: str, text: str, mode: int) -> Path:
        path = tmp_path / name
        path.write_text(text)
        path.chmod(mode)
        return path

    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    numbers = {
        make("plain", "#!/bin/sh\n", 0o644): errno.EACCES,
        tmp_path: errno.EACCES,
        make("bare", "echo hi\n", 0o755): errno.ENOEXEC,
        make("bad", "#!/no/such/interpreter\n", 0o755): errno.ENOENT,
        loop: errno.ELOOP,
    }
    assert list(numbers.values()) == [13, 13, 8, 2, 40]

    with variants() as variant:
        for path, number in numbers.items():
            for tty in (True, False):
                with variant(f"{path.name}, tty {tty}"):
                    daemon.grants["t0ken"] = {"command": str(path), "tty": tty}
                    expect_http(entry, await knock(daemon), audit)
                    assert os.strerror(number) in audit.list_refusals()[-1]["detail"]
    assert_nothing_ran(daemon)


async def knock_at(daemon: DaemonProcess, token: str) -> Reply:
    """Knock at a daemon that is a process of its own; leave if let in, and wait until that session is over."""
    reply = await exchange(daemon.port, handshake(f"/ws?token={token}", "Accept: application/problem+json\r\n"))
    await daemon.sessions_reach(0)
    return reply


def count_held(daemon: DaemonProcess) -> tuple[int, int]:
    """Return how many terminals and processes a daemon holds."""
    return sum(count for kind, count in daemon.descriptors().items() if "pt" in kind), len(daemon.children())


# As an account for which the limit of processes holds, yet who may read wherever Python and this package are installed.
AS_NOBODY = (
    ("setpriv", "--reuid=65534", "--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    if os.geteuid() == 0
    else ()
)


@dataclass(frozen=True, slots=True)
class Shortage:
    """How to make a daemon short of something.

    Attributes:
        name: The limit, as prlimit(1) calls it.
        program: What puts itself in the place of whoever may set it.
        least: Tells what a daemon has in use.
        enough: What it never needs.
    """

    name: str
    program: tuple[str, ...]
    least: Callable[[DaemonProcess], int]
    enough: int = 1000

    async def leave(self, daemon: DaemonProcess, count: int) -> None:
        """Set the daemon's soft limit."""
        limit = (*self.program, "prlimit", "--pid", str(daemon.pid), f"--{self.name}={count}:")
        result = await run_program(limit)
        assert result.status == 0, result.stderr


def count_descriptors(daemon: DaemonProcess) -> int:
    """Return the lowest limit that takes nothing from a daemon."""
    return max(int(name) for name in os.listdir(f"/proc/{daemon.pid}/fd")) + 1


def read_address_space(daemon: DaemonProcess) -> int:
    """Return the bytes of a daemon's address space: what takes nothing from it, but lets it have no more."""
    return int(Path(f"/proc/{daemon.pid}/statm").read_text().split()[0]) * resource.getpagesize()


EMFILE = Shortage("nofile", (), count_descriptors)
EAGAIN = Shortage("nproc", AS_NOBODY, lambda daemon: 0)
# To start a process takes a stack of 32 KiB; all else a daemon has already.
ENOMEM = Shortage("as", (), read_address_space, enough=2**40)
# Mounts of its own: whoever is not root may have them in a user namespace.
UNSHARE = ("unshare", "-m") if os.geteuid() == 0 else ("unshare", "-Urm")
# Terminals of its own, and only two of them.
TWO_TERMINALS = (
    "mount -t devpts -o newinstance,ptmxmode=0666,max=2 devpts /dev/pts && mount --bind /dev/pts/ptmx /dev/ptmx"
)


@case("CT-39")
@pytest.mark.parametrize(
    ("shortage", "spares"),
    [(EMFILE, range(7)), (EAGAIN, range(2)), (ENOMEM, range(0, 20_000, 4096))],
    ids=["EMFILE", "EAGAIN", "ENOMEM"],
)
async def test_no_descriptors_processes_or_memory_left(
    start_daemon: StartDaemon, controller: ScriptedController, entry: Entry, shortage: Shortage, spares: Sequence[int]
) -> None:
    daemon = await start_daemon(program=(*shortage.program, *PROGRAM))
    await shortage.leave(daemon, shortage.enough)
    for _ in range(3):  # What it keeps of its first sessions for the next.
        assert (await knock_at(daemon, controller.allow("/bin/true"))).status == 101
    held, least, refused = count_held(daemon), shortage.least(daemon), 0

    with variants() as variant:
        for spare in spares:
            with variant(f"room for {spare}"):
                await shortage.leave(daemon, least + spare)
                reply = await exchange_while_short(daemon, controller.allow("/bin/true"))
                await shortage.leave(daemon, shortage.enough)
                if reply is not None and reply.status == entry.wants("http").status:
                    expect_http(entry, reply)
                    assert int(reply.get("retry-after") or 0) > 0
                    refused += 1
                async with asyncio.timeout(1):
                    assert (await knock_at(daemon, controller.allow("/bin/true"))).status == 101
                await until(lambda: count_held(daemon) == held, "all is given back")
    assert refused >= 2
    assert "Traceback" not in daemon.log


async def exchange_while_short(daemon: DaemonProcess, token: str) -> Reply | None:
    """Knock; None when the daemon lacked what it needs to answer at all."""
    try:
        async with asyncio.timeout(2):
            return await exchange(daemon.port, handshake(f"/ws?token={token}", "Accept: application/problem+json\r\n"))
    except (TimeoutError, asyncio.IncompleteReadError, ConnectionError):
        return None


@case("CT-39")
async def test_no_terminals_left(start_daemon: StartDaemon, controller: ScriptedController, entry: Entry) -> None:
    unshared = (*UNSHARE, "sh", "-c", f'{TWO_TERMINALS} && exec "$@"', "sh")
    daemon = await start_daemon(program=(*unshared, *PROGRAM))
    sleep = ("/bin/sleep", "600")

    async with daemon.open(controller.allow(*sleep)) as first, daemon.open(controller.allow(*sleep)) as second:
        await asyncio.gather(first.recv(), second.recv())
        for _ in range(3):
            reply = await exchange_while_short(daemon, controller.allow(*sleep))
            assert reply is not None
            expect_http(entry, reply)
            assert int(reply.get("retry-after") or 0) > 0
        assert len(daemon.children()) == 2
        await second.close()
        await daemon.sessions_reach(1)

        async with asyncio.timeout(1), daemon.open(controller.allow(*sleep)) as third:
            assert '"hello"' in str(await third.recv())
    await daemon.sessions_reach(0)
    assert count_held(daemon) == (0, 0)
