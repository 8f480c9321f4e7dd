"""The machine has nothing more to give: new sessions are refused, running ones go on, and it passes.

What is taken away is taken from the daemon alone: by its own limits, or from a /dev/pts of its own.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path

import httpx
from daemon_process import PROGRAM, DaemonProcess, StartDaemon
from programs import run_program
from scripted_controller import ScriptedController
from terminal_client import hear_until
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

PATIENT = ("--controller-timeout", "60s")
ECHO = ("/bin/sh", "-c", "stty raw -echo; echo ready; exec cat")
TERMINALS = 4
# For some sessions, three each.
FILES_LEFT = 12
SESSIONS_MAX = 10
SILENT = 100
# Room is seen at once; that somebody asks, is answered and finds a command running takes its time on a busy machine.
RECOVERY_S = 1.0
WATCHED_S = 1.0
# Looking away and again four times a second costs a few milliseconds; a loop that spins, all of the second.
CPU_MAX_S = 0.2
NOBODY = 65534
HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}
# A terminal device of its own for whatever `sh` executes next, in a mount namespace that nobody else sees.
OWN_TERMINALS = (
    f"mount -t devpts -o newinstance,ptmxmode=0666,max={TERMINALS} devpts /dev/pts && "
    'mount --bind /dev/pts/ptmx /dev/ptmx && exec "$@"'
)


@asynccontextmanager
async def echoing(daemon: DaemonProcess, controller: ScriptedController) -> AsyncIterator[ClientConnection]:
    """A session that gives back every byte."""
    async with daemon.open(controller.allow(*ECHO)) as websocket:
        await hear_until(websocket, b"ready\n")
        yield websocket


async def check_echo(websocket: ClientConnection) -> None:
    await websocket.send(b"still here")
    assert await websocket.recv() == b"still here"


async def knock(daemon: DaemonProcess, controller: ScriptedController) -> httpx.Response:
    """Ask for a session like a client that understands a refusal only."""
    return await daemon.get("/ws", **HANDSHAKE, Authorization=f"Bearer {controller.allow('/bin/true')}")


async def check_refusal(daemon: DaemonProcess, controller: ScriptedController) -> None:
    """A new session must be refused as what it is: something that passes."""
    reply = await knock(daemon, controller)

    assert (reply.status_code, reply.headers.get("retry-after")) == (503, "1"), reply.text


async def check_idleness(daemon: DaemonProcess) -> None:
    """The daemon must have better things to do than to try again and again."""
    before_s = cpu_time_s(daemon.pid)
    await asyncio.sleep(WATCHED_S)
    assert cpu_time_s(daemon.pid) - before_s < CPU_MAX_S


async def check_recovery(daemon: DaemonProcess, controller: ScriptedController) -> None:
    """A new session must be possible again within a second."""
    async with asyncio.timeout(RECOVERY_S):
        while True:
            if (reply := await knock(daemon, controller)).status_code == 101:
                return
            assert reply.status_code == 503


async def fill(daemon: DaemonProcess, controller: ScriptedController) -> list[ClientConnection]:
    """Open sessions until one is refused."""
    opened: list[ClientConnection] = []
    with suppress(InvalidStatus):
        while len(opened) < SESSIONS_MAX:
            opened.append(await daemon.open(controller.allow(*ECHO)))
    assert 0 < len(opened) < SESSIONS_MAX
    return opened


async def close_all(websockets: list[ClientConnection]) -> None:
    for websocket in websockets:
        await websocket.close()


@contextmanager
def knocking(port: int) -> Iterator[None]:
    """Connections of clients that then say nothing."""
    with ExitStack() as crowd:
        for _ in range(SILENT):
            crowd.enter_context(socket.create_connection(("127.0.0.1", port)))
        yield


def count_files(daemon: DaemonProcess) -> int:
    """Return the least limit of open files that changes nothing for what is open."""
    return max(map(int, os.listdir(f"/proc/{daemon.pid}/fd"))) + 1


def cpu_time_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@asynccontextmanager
async def limited(daemon: DaemonProcess, what: str, soft: int, *, as_user: tuple[str, ...] = ()) -> AsyncIterator[None]:
    """Lower one of the daemon's own limits while the block runs, as prlimit(1) names it."""

    async def limit(value: str) -> None:
        command = (*as_user, "prlimit", "--pid", str(daemon.pid))
        assert (await run_program([*command, f"--{what}={value}:"])).status == 0

    show = ("prlimit", "--pid", str(daemon.pid), f"--{what}", "--output=SOFT", "--noheadings", "--raw")
    before = (await run_program([*as_user, *show])).stdout.strip()
    await limit(str(soft))
    try:
        yield
    finally:
        await limit(before)


async def test_when_sessions_hold_all_files_a_new_one_is_refused_and_they_go_on(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon(*PATIENT)
    async with echoing(daemon, controller) as session, AsyncExitStack() as stack:
        async with limited(daemon, "nofile", count_files(daemon) + FILES_LEFT):
            others = await fill(daemon, controller)
            stack.push_async_callback(close_all, others)

            await check_refusal(daemon, controller)
            with knocking(daemon.port):
                await check_idleness(daemon)
                await check_echo(session)

            await others.pop().close()
            await check_recovery(daemon, controller)
        await check_echo(session)


async def test_when_silent_clients_hold_all_files_they_are_cut_for_others(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon(*PATIENT)
    async with echoing(daemon, controller) as session:
        async with limited(daemon, "nofile", count_files(daemon) + FILES_LEFT):
            with knocking(daemon.port):
                await check_idleness(daemon)
                await check_echo(session)

                # They are cut for whoever comes, so nobody has to be refused for them.
                await check_recovery(daemon, controller)
        await check_echo(session)


async def test_without_a_terminal_to_be_had_a_session_is_refused_and_others_go_on(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    unshare = ("unshare", "--mount", *(() if os.geteuid() == 0 else ("--map-root-user",)))
    daemon = await start_daemon(*PATIENT, program=(*unshare, "sh", "-c", OWN_TERMINALS, "sh", *PROGRAM))
    async with echoing(daemon, controller) as session, AsyncExitStack() as stack:
        others = await fill(daemon, controller)
        stack.push_async_callback(close_all, others)
        assert len(others) == TERMINALS - 1

        await check_refusal(daemon, controller)
        await check_idleness(daemon)
        await check_echo(session)

        await others.pop().close()
        await check_recovery(daemon, controller)
        await check_echo(session)


async def test_without_a_process_to_be_had_a_session_is_refused_and_others_go_on(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    # Root may start as many as it likes.
    nobody = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups") if os.geteuid() == 0 else ()
    daemon = await start_daemon(*PATIENT, program=(*nobody, *PROGRAM))
    async with echoing(daemon, controller) as session:
        async with limited(daemon, "nproc", 1, as_user=nobody):
            await check_refusal(daemon, controller)
            await check_idleness(daemon)
            await check_echo(session)

        await check_recovery(daemon, controller)
        await check_echo(session)
