"""A session from end to end: sizes, keys, signals, end of input, limits; on a terminal and on pipes."""

import asyncio
import hashlib
import json
import random
from contextlib import suppress

import pytest
from daemon_process import DaemonProcess, send_json
from scripted_controller import ScriptedController
from terminal_client import hear_all, hear_until, messages, reset_connection
from websockets.exceptions import ConnectionClosed

PASTE_BYTES = 3_000_000
NONSENSE = 200


async def test_the_first_size_is_the_clients_and_a_new_one_reaches_the_command(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    script = "trap 'stty size; exit' WINCH; stty size; while :; do sleep 0.05; done"
    async with daemon.open(controller.allow("/bin/sh", "-c", script), query="?rows=30&cols=100") as websocket:
        heard = await hear_until(websocket, b"30 100\r\n")
        await send_json(websocket, type="resize", rows=50, cols=200)
        await hear_all(websocket, heard)

    assert (heard.hello["rows"], heard.hello["cols"]) == (30, 100)
    assert heard.output == b"30 100\r\n50 200\r\n"


async def test_a_terminal_is_a_terminal(daemon: DaemonProcess, controller: ScriptedController) -> None:
    async with daemon.open(
        controller.allow("/bin/sh", "-c", "tty; tty </dev/tty; ps -o tpgid=,pgid= -p $$")
    ) as websocket:
        heard = await hear_all(websocket)

    name, controlling, groups = heard.output.decode().splitlines()
    assert name.startswith("/dev/pts/")
    assert controlling == "/dev/tty"
    foreground, own = groups.split()
    assert foreground == own


@pytest.mark.parametrize("stty", ["isig", "-isig"])
async def test_an_interrupt_reaches_the_foreground_whatever_the_terminal_does_with_keys(
    daemon: DaemonProcess, controller: ScriptedController, stty: str
) -> None:
    script = f"stty {stty}; trap 'echo caught; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    async with daemon.open(controller.allow("/bin/sh", "-c", script)) as websocket:
        heard = await hear_until(websocket, b"ready")
        await send_json(websocket, type="signal", name="INT")
        await hear_all(websocket, heard)

    assert b"caught" in heard.output
    assert heard.ending == (9, None)


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipes"])
async def test_the_end_of_input_comes_after_the_input(
    daemon: DaemonProcess, controller: ScriptedController, tty: bool
) -> None:
    async with daemon.open(controller.allow("/usr/bin/wc", "-c", tty=tty)) as websocket:
        await websocket.send(b"12345\n")
        await send_json(websocket, type="eof")
        heard = await hear_all(websocket)

    assert heard.output.split()[-1] == b"6"
    assert heard.ending == (0, None)


@pytest.mark.parametrize("tty", [True, False], ids=["terminal", "pipes"])
async def test_a_long_paste_comes_back_whole_while_it_is_still_being_sent(
    daemon: DaemonProcess, controller: ScriptedController, tty: bool
) -> None:
    paste = random.Random(1).randbytes(PASTE_BYTES)
    prepare = "stty raw -echo; " if tty else ""
    token = controller.allow("/bin/sh", "-c", f"{prepare}echo ready; exec head -c {PASTE_BYTES}", tty=tty)
    async with daemon.open(token) as websocket:
        heard = await hear_until(websocket, b"ready\n")

        async def send_paste() -> None:
            for start in range(0, PASTE_BYTES, 100_000):
                await websocket.send(paste[start : start + 100_000])

        async with asyncio.timeout(30), asyncio.TaskGroup() as group:
            group.create_task(send_paste())
            await hear_all(websocket, heard)

    returned = heard.streams[1].removeprefix(b"ready\n")
    assert (len(returned), hashlib.sha256(returned).digest()) == (PASTE_BYTES, hashlib.sha256(paste).digest())
    assert heard.ending == (0, None)


async def test_a_command_that_reads_nothing_does_not_hide_that_its_client_left(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    token = controller.allow("/bin/sh", "-c", "stty raw -echo; echo ready; exec sleep 600")
    async with daemon.open(token) as websocket:
        await hear_until(websocket, b"ready")
        # More than the terminal, the daemon's queue and the sockets' buffers take: the daemon stops reading.
        with suppress(TimeoutError):
            async with asyncio.timeout(2):
                for _ in range(100):
                    await websocket.send(bytes(500_000))
                pytest.fail("50 MB went nowhere")
        reset_connection(websocket)

    await daemon.sessions_reach(0, timeout_s=5)


async def test_pipes_keep_the_two_outputs_apart(daemon: DaemonProcess, controller: ScriptedController) -> None:
    token = controller.allow("/bin/sh", "-c", "echo out; echo error >&2; tty", tty=False)
    async with daemon.open(token) as websocket:
        heard = await hear_all(websocket)

    assert heard.streams == {1: b"out\nnot a tty\n", 2: b"error\n"}
    assert heard.hello["tty"] is False


async def test_who_may_only_look_cannot_type_nor_signal(daemon: DaemonProcess, controller: ScriptedController) -> None:
    token = controller.allow("/bin/bash", "-c", "echo ready; read -t 1 line; echo got $line", read_only=True)
    async with daemon.open(token) as websocket:
        heard = await hear_until(websocket, b"ready")
        await websocket.send(b"text\n")
        await send_json(websocket, type="signal", name="KILL")
        await hear_all(websocket, heard)

    assert heard.hello["role"] == "viewer"
    assert heard.errors == ["read_only", "right_missing"]
    assert heard.output == b"ready\r\ngot\r\n"
    assert heard.ending == (0, None)


@pytest.mark.parametrize(
    ("limit", "code", "close_code"),
    [({"idle_timeout_s": 0.5}, "idle_timeout", 4408), ({"max_lifetime_s": 0.5}, "lifetime_exceeded", 4410)],
)
async def test_a_session_at_its_limit_is_ended_and_told_why(
    daemon: DaemonProcess, controller: ScriptedController, limit: dict[str, float], code: str, close_code: int
) -> None:
    async with daemon.open(controller.allow("/bin/sleep", "600", **limit)) as websocket:
        heard = await hear_all(websocket)

    assert (heard.errors, heard.ending, heard.close_code) == ([code], (None, "HUP"), close_code)


async def test_what_makes_no_sense_is_answered_and_the_session_lives_on(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    async with daemon.open(controller.allow("/bin/sh", "-c", "echo ready; read line; exit 2")) as websocket:
        heard = await hear_until(websocket, b"ready")
        await websocket.send("no JSON")
        await send_json(websocket, type="no such type")
        await send_json(websocket, type="resize", rows=0, cols=80)
        await send_json(websocket, type="ack", offset=10**9)
        await websocket.send(b"\n")
        await hear_all(websocket, heard)

    assert heard.errors == ["bad_message", "unknown_message", "bad_resize", "bad_ack"]
    assert heard.ending == (2, None)


async def test_a_client_that_talks_nonsense_without_end_is_sent_away(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    async with daemon.open(controller.allow("/bin/sleep", "600")) as websocket:
        with suppress(ConnectionClosed):
            for _ in range(NONSENSE):
                await websocket.send("nonsense")
        async for _ in messages(websocket):
            pass

    assert websocket.close_code == 1008


async def test_a_ping_is_answered_even_behind_a_window_that_is_full(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    async with daemon.open(controller.allow("/usr/bin/yes")) as websocket:
        await send_json(websocket, type="ping", id=7)
        async with asyncio.timeout(10):
            while (message := await websocket.recv()) != '{"type":"pong","id":7}':
                assert isinstance(message, bytes) or json.loads(message)["type"] == "hello"


async def test_what_a_command_leaves_in_the_background_does_not_keep_its_session(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    async with asyncio.timeout(10), daemon.open(controller.allow("/bin/sh", "-c", "sleep 600 & exit 5")) as websocket:
        heard = await hear_all(websocket)

    assert heard.ending == (5, None)
    await daemon.sessions_reach(0)
    assert daemon.children() == set()
