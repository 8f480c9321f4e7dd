"""A thousand sessions come and go, each in its own way; the daemon is afterwards what it was before."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import pytest
from daemon_process import WAIT_S, DaemonProcess, send_json
from observing import until
from scale import scaled
from scripted_controller import ScriptedController
from terminal_client import Heard, hear_all, hear_until, reset_connection
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

SESSIONS = scaled(1000)
AT_ONCE = 200
LEAVERS = scaled(300)
LEAVERS_AT_ONCE = 10
SEED = 7
# Says that it runs, then waits for a line.
WAITING = ("/bin/sh", "-c", "echo ready; read line; exit 4")


@dataclass(frozen=True, slots=True)
class Terminal:
    """A session whose command runs, and what it has said so far."""

    websocket: ClientConnection
    heard: Heard


async def open_terminal(daemon: DaemonProcess, token: str) -> Terminal:
    """Start a session and wait until its command runs."""
    websocket = await daemon.open(token)
    return Terminal(websocket, await hear_until(websocket, b"ready"))


async def close_it(terminal: Terminal) -> None:
    """The client closes."""
    await terminal.websocket.close()


async def reset_it(terminal: Terminal) -> None:
    """The client vanishes: a TCP reset."""
    reset_connection(terminal.websocket)


async def let_it_exit(terminal: Terminal) -> None:
    """The command gets its line and exits."""
    await terminal.websocket.send(b"now\n")
    await hear_all(terminal.websocket, terminal.heard)
    assert terminal.heard.ending == (4, None)


async def kill_it(terminal: Terminal) -> None:
    """The client has the command killed."""
    await send_json(terminal.websocket, type="signal", name="KILL")
    await hear_all(terminal.websocket, terminal.heard)
    assert terminal.heard.ending == (None, "KILL")


ENDINGS: tuple[Callable[[Terminal], Awaitable[None]], ...] = (close_it, reset_it, let_it_exit, kill_it)


async def abandon_handshake(daemon: DaemonProcess, controller: ScriptedController) -> None:
    """Leave without having heard the answer to the handshake."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    token = controller.allow(*WAITING)
    writer.write(
        f"GET /ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
    )
    await until(lambda: token in controller.asked, "the question to the controller")
    writer.transport.abort()
    with suppress(ConnectionError):
        await reader.read()


async def run_batch(daemon: DaemonProcess, controller: ScriptedController, count: int, choose: random.Random) -> None:
    """Have `count` sessions alive at one time, then end them, each in a way of its own."""
    tokens = [controller.allow(*WAITING, tty=choose.random() < 0.7) for _ in range(count)]
    terminals = await asyncio.gather(*(open_terminal(daemon, token) for token in tokens))
    assert await daemon.read_metric("ws_subprocess_sessions") == count

    leavers = (abandon_handshake(daemon, controller) for _ in range(count // 20))
    endings = (choose.choice(ENDINGS)(terminal) for terminal in terminals)
    await asyncio.gather(*endings, *leavers)

    await daemon.sessions_reach(0)
    for terminal in terminals:
        await terminal.websocket.wait_closed()


async def forget_connections(daemon: DaemonProcess, sockets: int) -> None:
    """Ask until the daemon has closed its idle connections to the controller, and has `sockets` again."""
    async with asyncio.timeout(WAIT_S):
        while daemon.descriptors()["socket"] != sockets:
            # What is idle for a second goes with the next question; a refusal leaves no connection.
            with pytest.raises(InvalidStatus):
                await daemon.open("unknown")
            await asyncio.sleep(0.1)


async def test_a_thousand_sessions_leave_nothing_behind(daemon: DaemonProcess, controller: ScriptedController) -> None:
    choose = random.Random(SEED)
    sockets = daemon.descriptors()["socket"]
    # What is opened once, with the first session, stays.
    await let_it_exit(await open_terminal(daemon, controller.allow(*WAITING)))
    await forget_connections(daemon, sockets)
    descriptors, threads = daemon.descriptors(), daemon.count_threads()

    for begun in range(0, SESSIONS, AT_ONCE):
        await run_batch(daemon, controller, min(AT_ONCE, SESSIONS - begun), choose)

    await forget_connections(daemon, sockets)
    assert daemon.descriptors() == descriptors
    assert daemon.children() == set()
    assert daemon.count_threads() == threads


async def test_clients_that_leave_while_the_controller_is_asked_cost_later_ones_nothing(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    for _ in range(0, LEAVERS, LEAVERS_AT_ONCE):
        await asyncio.gather(*(abandon_handshake(daemon, controller) for _ in range(LEAVERS_AT_ONCE)))

    await daemon.sessions_reach(0)
    terminal = await open_terminal(daemon, controller.allow(*WAITING))
    await let_it_exit(terminal)
