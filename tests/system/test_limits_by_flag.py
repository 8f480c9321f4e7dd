"""Limits of the server, from the command line to what a client meets."""

import asyncio
import contextlib
import signal
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable

import pytest
from daemon_process import DaemonProcess, StartDaemon
from observing import until
from scripted_controller import ScriptedController
from terminal_client import hear_all, hear_until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

WAITING = ("/bin/sh", "-c", "echo ready; exec cat")
MIN_WAITING = 16


@pytest.fixture
async def connect_raw() -> AsyncIterator[Callable[[DaemonProcess], socket.socket]]:
    """A function that opens a bare connection; all end with the test."""
    with contextlib.ExitStack() as stack:

        def open_one(daemon: DaemonProcess) -> socket.socket:
            sock = stack.enter_context(socket.create_connection(("127.0.0.1", daemon.port)))
            sock.setblocking(False)
            return sock

        yield open_one


def is_cut(sock: socket.socket) -> bool:
    """Tell whether the daemon has ended a connection that was told nothing."""
    try:
        return sock.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


async def test_handshake_timeout_s_is_for_the_whole_request(
    start_daemon: StartDaemon, connect_raw: Callable[[DaemonProcess], socket.socket]
) -> None:
    daemon = await start_daemon("--handshake-timeout", "0.5s")
    silent, dripping = connect_raw(daemon), connect_raw(daemon)
    begun = time.monotonic()

    async def drip() -> None:
        for byte in b"GET /healthz HTTP/1.1\r\nX: " + b"x" * 1000:
            if is_cut(dripping):
                return
            with contextlib.suppress(ConnectionError):
                dripping.send(bytes([byte]))
            await asyncio.sleep(0.02)

    await asyncio.gather(until(lambda: is_cut(silent), "the end of the silent one"), drip())

    assert 0.4 < time.monotonic() - begun < 4
    assert is_cut(dripping)


async def test_max_message_bytes_is_the_largest_message(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--max-message-bytes", "1KiB")
    script = "stty raw -echo; echo ready; head -c 1024 | wc -c; exec sleep 600"
    async with daemon.open(controller.allow("/bin/sh", "-c", script)) as websocket:
        heard = await hear_until(websocket, b"ready")

        await websocket.send(b"x" * 1024)
        await hear_until(websocket, b"1024", heard)
        await websocket.send(b"x" * 1025)
        await hear_all(websocket, heard)

    assert heard.close_code == 1009


async def test_ping_interval_s_and_ping_timeout_s_end_who_answers_nothing(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--ping-interval", "1s", "--ping-timeout", "1s")
    async with daemon.open(controller.allow(*WAITING), ping_interval=None) as websocket:
        heard = await hear_until(websocket, b"ready")
        begun = time.monotonic()
        # Who reads nothing answers no ping either.
        websocket.transport.pause_reading()
        await daemon.sessions_reach(0)
        waited_s = time.monotonic() - begun
        websocket.transport.resume_reading()
        await hear_all(websocket, heard)

    assert heard.close_code == 1011
    assert 1 < waited_s < 10


async def test_drain_timeout_s_is_how_long_sessions_may_go_on(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    daemon = await start_daemon("--drain-timeout", "1s")
    async with daemon.open(controller.allow(*WAITING)) as websocket:
        heard = await hear_until(websocket, b"ready")
        begun = time.monotonic()

        daemon.send(signal.SIGTERM)
        await hear_all(websocket, heard)

    assert 0.9 < time.monotonic() - begun < 5
    assert heard.close_code == 1012
    assert await daemon.ended() == 0


async def test_max_waiting_is_how_many_connections_may_ask_for_nothing(
    start_daemon: StartDaemon, connect_raw: Callable[[DaemonProcess], socket.socket], controller: ScriptedController
) -> None:
    daemon = await start_daemon("--max-waiting", str(MIN_WAITING))
    async with daemon.open(controller.allow(*WAITING)) as websocket:
        heard = await hear_until(websocket, b"ready")

        silent = [connect_raw(daemon) for _ in range(4 * MIN_WAITING)]

        await until(lambda: sum(map(is_cut, silent)) >= 3 * MIN_WAITING, "the end of those that are too many")
        # Who asked for something is not one of them.
        await websocket.send(b"still here\n")
        await hear_until(websocket, b"still here", heard)


async def test_max_handshakes_per_address_is_how_often_one_address_may_knock(
    start_daemon: StartDaemon, controller: ScriptedController
) -> None:
    # Ten times as many at once.
    daemon = await start_daemon("--max-handshakes-per-address", "1", "--trusted-proxy", "127.0.0.1")
    tokens = [controller.allow("/bin/true") for _ in range(20)]

    answers = [await knock(daemon, token, "10.0.0.7") for token in tokens]
    other = await knock(daemon, controller.allow("/bin/true"), "10.0.0.8")

    counts = Counter(status for status, _ in answers)
    assert counts.keys() == {101, 429}
    assert counts[429] >= 5
    assert {retry_after for status, retry_after in answers if status == 429} == {"1"}
    assert other == (101, None)
    # Nobody was asked about the tokens of those that knocked too often.
    assert len(controller.asked) == counts[101] + 1
    line = next(line for line in daemon.log_lines() if line.get("code") == "too_many_handshakes")
    assert (line["peer"], line["decision"]) == ("10.0.0.7", "refused")


async def knock(daemon: DaemonProcess, token: str, client: str) -> tuple[int, str | None]:
    """Shake hands as a proxy does for a client; return status and Retry-After."""
    url = f"ws://127.0.0.1:{daemon.port}/ws?token={token}"
    try:
        async with connect(url, additional_headers={"X-Forwarded-For": client}, proxy=None):
            return 101, None
    except InvalidStatus as refused:
        return refused.response.status_code, refused.response.headers.get("Retry-After")
