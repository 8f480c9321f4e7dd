"""A hundred megabytes for a client that stops reading: memory stays flat, others notice nothing, nothing is lost."""

import asyncio
import hashlib
import json
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from daemon_process import NATIVE, WAIT_S, DaemonProcess, send_json
from scale import scaled
from scripted_controller import ScriptedController
from terminal_client import acknowledge, hear_all, hear_bytes, hear_until
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

MIB = 1024 * 1024
# Every line is another number, so that what is lost, doubled or swapped changes the hash: 7 bytes a line and more.
LAST_NUMBER = scaled(12_500_000)
# Raw, so that the terminal changes nothing and the flood is as fast as it can be.
FLOOD = ("/bin/sh", "-c", 'stty raw; exec seq 1 "$1"', "sh", str(LAST_NUMBER))
WINDOW_BYTES = 512 * 1024
ACKNOWLEDGED_BYTES = 500_000
GROWTH_MAX_BYTES = 8 * MIB
ROUND_TRIPS = 200
SILENCE_S = 0.5
# On an idle machine 0.3 ms; a wait for the flood would take seconds.
ECHO_MEDIAN_S = 0.05
ECHO_MAX_S = 1.0


class FloodedClient:
    """Reads a flood and hashes it; keeps none of it, and of control messages the types."""

    def __init__(self, websocket: ClientConnection) -> None:
        self._websocket = websocket
        self.digest = hashlib.sha256()
        self.size = 0
        self.control: list[str] = []

    async def read_one(self) -> None:
        """Take one message."""
        message = await self._websocket.recv()
        if isinstance(message, str):
            self.control.append(json.loads(message)["type"])
        else:
            self.digest.update(message)
            self.size += len(message)

    async def read_to_end(self, acknowledges: bool) -> int:
        """Take all; return the close code."""
        async with asyncio.timeout(WAIT_S):
            try:
                while True:
                    await self.read_one()
                    if acknowledges:
                        await acknowledge(self._websocket, self.size)
            except ConnectionClosed as exc:
                return exc.rcvd.code if exc.rcvd else 1006


@pytest.fixture(scope="module")
def expected() -> tuple[int, str]:
    """Size and hash of the whole flood."""
    digest, size = hashlib.sha256(), 0
    for start in range(1, LAST_NUMBER + 1, 100_000):
        data = "".join(f"{number}\n" for number in range(start, min(start + 100_000, LAST_NUMBER + 1))).encode()
        digest.update(data)
        size += len(data)
    return size, digest.hexdigest()


@asynccontextmanager
async def echoing(daemon: DaemonProcess, controller: ScriptedController) -> AsyncIterator[ClientConnection]:
    """A session that gives back every byte."""
    token = controller.allow("/bin/sh", "-c", "stty raw -echo; echo ready; exec cat")
    async with daemon.open(token) as websocket:
        await hear_until(websocket, b"ready\n")
        yield websocket


async def measure_echo(websocket: ClientConnection) -> float:
    """Return how long a byte was on its way, seconds."""
    begun = time.perf_counter()
    async with asyncio.timeout(WAIT_S):
        await websocket.send(b"x")
        assert await websocket.recv() == b"x"
    return time.perf_counter() - begun


def check_echoes(echoes_s: list[float]) -> None:
    """Fail unless a person would have noticed nothing."""
    assert statistics.median(echoes_s) < ECHO_MEDIAN_S
    assert max(echoes_s) < ECHO_MAX_S


async def assert_silent(websocket: ClientConnection) -> None:
    """Fail when anything comes."""
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(websocket.recv(), SILENCE_S)


async def until_it_waits(daemon: DaemonProcess) -> None:
    """Wait until the daemon reads no more of the flood."""
    before, now = -1.0, 0.0
    async with asyncio.timeout(20):
        while now == 0 or now != before:
            await asyncio.sleep(0.2)
            before, now = now, await daemon.read_metric('ws_subprocess_bytes_total{direction="out"}')


@pytest.mark.parametrize("dialect", [None, NATIVE], ids=["raw", "native"])
async def test_a_flood_waits_for_its_client_and_nobody_else_does(
    daemon: DaemonProcess, controller: ScriptedController, expected: tuple[int, str], dialect: str | None
) -> None:
    async with echoing(daemon, controller) as other:
        before_bytes = daemon.rss_bytes()
        async with daemon.open(controller.allow(*FLOOD), dialect) as websocket:
            flooded = FloodedClient(websocket)
            while not flooded.size:
                await flooded.read_one()
            await until_it_waits(daemon)

            echoes_s = [await measure_echo(other) for _ in range(ROUND_TRIPS)]
            stalled_bytes = daemon.rss_bytes()
            close_code = await flooded.read_to_end(acknowledges=dialect == NATIVE)
            after_bytes = daemon.rss_bytes()

    check_echoes(echoes_s)
    assert stalled_bytes - before_bytes < GROWTH_MAX_BYTES
    assert after_bytes - before_bytes < GROWTH_MAX_BYTES
    assert (flooded.size, flooded.digest.hexdigest()) == expected
    assert flooded.control == ([] if dialect is None else ["hello", "exit"])
    assert close_code == 1000


async def test_others_are_answered_while_a_flood_flows(daemon: DaemonProcess, controller: ScriptedController) -> None:
    async with echoing(daemon, controller) as other, daemon.open(controller.allow(*FLOOD), None) as websocket:
        flood = asyncio.create_task(FloodedClient(websocket).read_to_end(acknowledges=False))

        echoes_s = [await measure_echo(other) for _ in range(ROUND_TRIPS)]

        assert await flood == 1000
    check_echoes(echoes_s)


async def test_the_server_stops_a_window_after_the_last_acknowledgement(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    async with daemon.open(controller.allow(*FLOOD)) as websocket:
        heard = await hear_bytes(websocket, WINDOW_BYTES)
        await assert_silent(websocket)
        assert heard.size == WINDOW_BYTES

        await send_json(websocket, type="ack", offset=ACKNOWLEDGED_BYTES)
        await hear_bytes(websocket, WINDOW_BYTES + ACKNOWLEDGED_BYTES, heard)

        await assert_silent(websocket)
        assert heard.size == WINDOW_BYTES + ACKNOWLEDGED_BYTES


async def test_a_command_that_ends_behind_the_window_is_told_to_have_ended_once_all_is_acknowledged(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    size = WINDOW_BYTES + 200_000
    token = controller.allow("/bin/sh", "-c", f"head -c {size} /dev/zero; exit 5", tty=False)
    async with daemon.open(token) as websocket:
        heard = await hear_bytes(websocket, WINDOW_BYTES)

        await send_json(websocket, type="ack", offset=heard.size)
        await hear_all(websocket, heard)

    assert (heard.size, heard.ending, heard.close_code) == (size, (5, None), 1000)


async def test_a_client_that_leaves_amid_a_flood_ends_it(daemon: DaemonProcess, controller: ScriptedController) -> None:
    async with daemon.open(controller.allow(*FLOOD), None) as websocket:
        await FloodedClient(websocket).read_one()
        websocket.transport.abort()

    await daemon.sessions_reach(0)
    assert daemon.children() == set()
