"""The daemon is told to end, at any moment and amid any tree of processes: nothing of it is left."""

import asyncio
import random
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress

import pytest
from daemon_process import NATIVE, DaemonProcess, StartDaemon
from observing import until
from process_marks import LEAST_MARKED, find_marked, hostile_arguments, marking
from scale import scaled
from scripted_controller import ScriptedController
from terminal_client import hear_all, hear_until, messages
from websockets.exceptions import InvalidHandshake, InvalidStatus

ROUNDS = scaled(40)
ROUNDS_AT_ONCE = 5
SEED = 40
SESSIONS = 3
# HUP, one second, TERM, one second, KILL; and the machine may be busy.
ENDS_WITHIN_S = 30
# What the daemon logs when the ladder of signals was not enough.
LAST_RESORT = "sessions did not end and are killed"
LATEST_SIGNAL_S = 0.5
DRAIN_S = 0.3


@pytest.fixture
def mark() -> Iterator[str]:
    """What marks the processes of a test; what it leaves is killed."""
    with marking() as mark:
        yield mark


async def none_is_left(mark: str) -> None:
    """Fail unless all marked processes are gone a second after the daemon."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while find_marked(mark):  # noqa: ASYNC110 - these are other processes
                await asyncio.sleep(0.01)
    assert find_marked(mark) == {}


def assert_port_is_free(port: int) -> None:
    """Fail when anybody still listens where the daemon did."""
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


async def visit(daemon: DaemonProcess, token: str, dialect: str | None) -> int | None:
    """Be a client for as long as it may; return the close code, None when it was not let in."""
    try:
        async with daemon.open(token, dialect) as websocket:
            async for _ in messages(websocket):
                pass
            return websocket.close_code
    except (InvalidHandshake, OSError, EOFError):
        return None


async def end_at_a_random_moment(daemon: DaemonProcess, controller: ScriptedController, choose: random.Random) -> None:
    """Open sessions with hostile trees, send SIGTERM whatever they do just then, and look for what is left."""
    await daemon.ready()
    with marking() as mark:
        grants = [("/bin/sh", *hostile_arguments(mark))] * SESSIONS
        tokens = [controller.allow(*grant, tty=choose.random() < 0.7) for grant in grants]
        async with asyncio.TaskGroup() as group:
            visits = [group.create_task(visit(daemon, token, choose.choice((None, NATIVE)))) for token in tokens]
            # Any moment will do, also one in a handshake.
            await asyncio.sleep(choose.uniform(0, LATEST_SIGNAL_S))
            daemon.send(signal.SIGTERM)
            status = await daemon.ended(ENDS_WITHIN_S)
            await none_is_left(mark)

    assert status == 0, daemon.log
    assert LAST_RESORT not in daemon.log
    assert {visit.result() for visit in visits} <= {None, 1012}
    assert_port_is_free(daemon.port)


async def test_no_process_outlives_a_daemon_that_is_ended_at_a_random_moment(
    launch_daemon: Callable[..., DaemonProcess], controller: ScriptedController
) -> None:
    controller.delay_s = 0.05
    room = asyncio.Semaphore(ROUNDS_AT_ONCE)

    async def play(number: int) -> None:
        choose = random.Random(f"{SEED} {number}")
        flags = ("--controller-url", controller.url, "--drain-timeout", choose.choice(("0s", f"{DRAIN_S}s")))
        async with room:
            daemon = launch_daemon("serve", "--listen", "127.0.0.1:0", *flags)
            await end_at_a_random_moment(daemon, controller, choose)

    async with asyncio.TaskGroup() as group:
        for number in range(ROUNDS):
            group.create_task(play(number))


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_client_is_told_that_the_daemon_ends(
    start_daemon: StartDaemon, controller: ScriptedController, number: signal.Signals
) -> None:
    daemon = await start_daemon("--drain-timeout", f"{DRAIN_S}s")
    async with daemon.open(controller.allow("/bin/sh", "-c", "echo ready; exec sleep 600")) as websocket:
        heard = await hear_until(websocket, b"ready")

        daemon.send(number)
        await hear_all(websocket, heard)

    assert (heard.errors, heard.ending, heard.close_code) == (["draining"], (None, "HUP"), 1012)
    assert await daemon.ended() == 0


async def test_while_it_drains_sessions_go_on_and_new_ones_are_refused(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--drain-timeout", "60s")
    async with daemon.open(controller.allow("/bin/sh", "-c", "echo ready; read line; exit 3")) as websocket:
        heard = await hear_until(websocket, b"ready")
        daemon.send(signal.SIGTERM)
        await until(lambda: '"draining"' in daemon.log, "the beginning of the drain")

        with pytest.raises(InvalidStatus) as refused:
            await daemon.open(controller.allow("/bin/true"))
        readiness, health = await daemon.get("/readyz"), await daemon.get("/healthz")
        await websocket.send(b"now\n")
        await hear_all(websocket, heard)

    assert (refused.value.response.status_code, refused.value.response.headers["Retry-After"]) == (503, "30")
    assert len(controller.asked) == 1
    assert (readiness.status_code, readiness.text.strip()) == (503, "draining")
    assert health.status_code == 200
    assert (heard.errors, heard.ending) == (["draining"], (3, None))
    assert await daemon.ended() == 0


async def test_a_daemon_without_sessions_ends_at_once_however_long_it_might_drain(start_daemon: StartDaemon) -> None:
    daemon = await start_daemon("--drain-timeout", "1h")

    daemon.send(signal.SIGTERM)

    assert await daemon.ended(timeout_s=5) == 0


async def test_a_second_signal_kills_at_once(
    start_daemon: StartDaemon, controller: ScriptedController, mark: str
) -> None:
    daemon = await start_daemon("--drain-timeout", "1h")
    async with daemon.open(controller.allow("/bin/sh", *hostile_arguments(mark))) as websocket:
        await hear_until(websocket, b"ready")
        await until(lambda: len(find_marked(mark)) >= LEAST_MARKED, "the whole tree")
        daemon.send(signal.SIGTERM)
        await until(lambda: '"draining"' in daemon.log, "the beginning of the drain")

        begun = time.monotonic()
        daemon.send(signal.SIGTERM)

        assert await daemon.ended() == 0
        assert time.monotonic() - begun < 2
        await none_is_left(mark)


async def test_a_client_that_leaves_takes_the_whole_tree_with_it(
    daemon: DaemonProcess, controller: ScriptedController, mark: str
) -> None:
    async with daemon.open(controller.allow("/bin/sh", *hostile_arguments(mark))) as websocket:
        await hear_until(websocket, b"ready")
        await until(lambda: len(find_marked(mark)) >= LEAST_MARKED, "the whole tree")

    await until(lambda: not find_marked(mark), "the end of the tree")
    await daemon.sessions_reach(0)
    assert daemon.children() == set()
