"""The catalogue's control messages and input: what is wrong is told and changes nothing; what is a lot waits."""

import asyncio
import json
import statistics
import time
from typing import Any

from catalogue import Entry, case
from daemon import NATIVE, Client, Daemon
from daemon_process import WAIT_S, StartDaemon
from expecting import expect_error, memory_stays_flat, variants
from observing import is_alive, list_children, until
from scripted_controller import ScriptedController
from terminal_client import hear_until

MIB = 1024 * 1024
# Says its terminal's size whenever it is typed to.
WAITING = "stty -echo; echo ready; while read line; do stty size; done"


async def be_told(client: Client, message: Any) -> dict[str, Any]:
    """Send a control message and return the answer, an error."""
    before = len([told for told in client.messages if told["type"] == "error"])
    await client.send(message if isinstance(message, str) else json.dumps(message))
    while len(errors := [told for told in client.messages if told["type"] == "error"]) == before:
        await client.take()
    return errors[-1]


async def read_size(client: Client) -> bytes:
    """Return what the command says its terminal's size is: it lives, and has that size."""
    begin = len(client.output)
    await client.send(b"\r")
    while b"\n" not in client.output[begin:]:
        await client.take()
    return client.output[begin:].strip()


def build_sizes() -> dict[str, dict[str, Any]]:
    """Return resize messages, by what is wrong with their rows or cols."""
    wrong = {repr(value): value for value in (0, -1, 65536, 1_000_000_000, 1e9, "80", True, 80.5, None)}
    found = {}
    for key, other in (("rows", "cols"), ("cols", "rows")):
        for name, value in wrong.items():
            found[f"{key} {name}"] = {"type": "resize", key: value, other: 40}
        found[f"{key} missing"] = {"type": "resize", other: 40}
    return found


@case("CM-01", "CM-02")
async def test_a_size_that_no_terminal_has(daemon: Daemon, entry: Entry) -> None:
    too_large = {
        "both": {"type": "resize", "rows": 2001, "cols": 2001},
        "rows": {"type": "resize", "rows": 2001, "cols": 2000},
        "cols": {"type": "resize", "rows": 2000, "cols": 2001},
    }
    messages = {"CM-01": build_sizes(), "CM-02": too_large}[entry.id]

    async with daemon.open(daemon.grant(WAITING), NATIVE) as client:
        await client.hears(b"ready\r\n")
        with variants() as variant:
            for name, message in messages.items():
                with variant(name):
                    expect_error(entry, await be_told(client, message))
                    assert await read_size(client) == b"24 80"

        await client.say(type="resize", rows=2000, cols=2000)
        assert await read_size(client) == b"2000 2000"


@case("CM-05")
async def test_a_signal_that_nobody_may_send(daemon: Daemon, entry: Entry) -> None:
    names: list[Any] = ["SIGKILL", 9, "9", '"TERM"', "SIGCHLD", "CHLD", "SIGSTOP", "STOP", "SEGV", 999, "999", "rm"]
    names += ["", "term", None, True, ["TERM"]]
    taken = entry.invariant.split(" from ")[0].split()[1:]
    assert len(taken) == 10
    script = (
        'for name in HUP INT QUIT TERM USR1 USR2 WINCH CONT TSTP; do trap "echo got-$name." $name; done; '
        "stty -echo; echo ready; while :; do sleep 0.02; done"
    )

    async with daemon.open(daemon.grant(script), NATIVE) as client:
        await client.hears(b"ready\r\n")
        with variants() as variant:
            for name in names:
                with variant(repr(name)):
                    expect_error(entry, await be_told(client, {"type": "signal", "name": name}))
            with variant("missing"):
                expect_error(entry, await be_told(client, {"type": "signal"}))
        assert client.output == b"ready\r\n"

        for name in [name for name in taken if name != "KILL"]:
            await client.say(type="signal", name=name)
            await client.hears(f"got-{name}.".encode())
        await client.say(type="signal", name="KILL")
        assert (await client.hears_of("exit"))["signal"] == "KILL"


@case("CM-06")
async def test_a_signal_after_the_end(daemon: Daemon, entry: Entry) -> None:
    async with daemon.open(daemon.grant("head -c 540000 /dev/zero", tty=False), NATIVE) as client:
        client.acknowledges = False
        while len(client.output) < 512 * 1024:
            await client.take()
        # The window is full: the command has ended, but the session lives on until all of its output is read.
        await until(lambda: not any(session.is_running for session in daemon.app.registry), "the end")
        assert not any(map(is_alive, list_children()))

        with variants() as variant:
            for name in ("KILL", "TERM", "INT", "USR1"):
                with variant(name):
                    expect_error(entry, await be_told(client, {"type": "signal", "name": name}))
        client.acknowledges = True
        await client.acknowledge(512 * 1024)

        assert (await client.hears_of("exit"))["code"] == 0


@case("CM-07")
async def test_messages_that_nobody_knows(daemon: Daemon, entry: Entry) -> None:
    unknown = ["paste", "hello", "exit", "RESIZE", "resize2", ""]

    async with daemon.open(daemon.grant(WAITING), NATIVE) as client:
        await client.hears(b"ready\r\n")
        with variants() as variant:
            for name in unknown:
                with variant(name):
                    expect_error(entry, await be_told(client, {"type": name, "version": 2}))
                    assert await read_size(client) == b"24 80"
        for _ in range(100 - len(unknown)):
            await be_told(client, {"type": "paste"})
        counted = daemon.app.metrics.client_errors.labels(entry.wants("ctrl_error").code)
        assert next(sample.value for family in counted.collect() for sample in family.samples) == 100

        await client.say(type="paste")
        assert await client.ends() == (1008, "Too many bad messages")

    assert "-> close 1008" in entry.invariant
    await until(lambda: not len(daemon.app.registry), "no session")


@case("CM-16")
async def test_a_paste_of_100_megabytes_that_nobody_reads(
    start_daemon: StartDaemon, controller: ScriptedController, entry: Entry
) -> None:
    entry.wants("ok")
    daemon = await start_daemon()
    deaf = controller.allow("/bin/sh", "-c", "stty raw -echo; echo ready; exec sleep 600")
    echoing = controller.allow("/bin/sh", "-c", "stty raw -echo; echo ready; exec cat")
    sent = 0

    async def paste(websocket: Any) -> None:
        nonlocal sent
        for _ in range(1600):
            await websocket.send(bytes(64 * 1024))
            sent += 64 * 1024

    async with daemon.open(deaf) as pasting, daemon.open(echoing) as other:
        await hear_until(pasting, b"ready\n")
        await hear_until(other, b"ready\n")
        with memory_stays_flat(4 * MIB, daemon.pid):
            pasted = asyncio.ensure_future(paste(pasting))
            echoes_s: list[float] = []
            before = -1
            while sent != before or not sent:  # Until nobody takes any more of it.
                before = sent
                echoes_s += [await measure_echo(other) for _ in range(100)]
                await asyncio.sleep(0.1)

        # What is not in the daemon's queue is in the sockets' buffers, and the client's own.
        assert not pasted.done()
        assert sent < 12 * MIB
        assert await daemon.read_metric('ws_subprocess_bytes_total{direction="in"}') <= 1.25 * MIB
        pasted.cancel()
        pasting.transport.abort()
    assert statistics.median(echoes_s) < 0.05, "of a hundred megabytes, nothing is to be felt"


async def measure_echo(websocket: Any) -> float:
    """Return how long a byte was on its way, seconds."""
    begun_s = time.perf_counter()
    async with asyncio.timeout(WAIT_S):
        await websocket.send(b"x")
        assert await websocket.recv() == b"x"
    return time.perf_counter() - begun_s


@case("CM-17")
async def test_a_line_longer_than_a_terminal_keeps(daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")

    async with daemon.open(daemon.grant("stty -echo; echo ready; head -n 1 | wc -c"), NATIVE) as client:
        await client.hears(b"ready\r\n")
        await client.send(b"x" * 10_000 + b"\r")
        error = await client.hears_of("error")
        ended = await client.hears_of("exit")

    assert error["code"] == "line_truncated_risk"
    assert error["code"] in entry.invariant
    assert client.output.split()[-1] == b"4096"
    assert ended["code"] == 0


@case("CM-18")
async def test_a_terminal_that_was_stopped(daemon: Daemon, entry: Entry) -> None:
    """The daemon of these tests pings every half second."""
    entry.wants("ok")
    script = "stty -echo; echo ready; while :; do echo tick; sleep 0.01; done"

    async with daemon.open(daemon.grant(script), NATIVE) as client:
        await client.hears(b"tick")
        (child,) = list_children()
        await client.send(b"\x13")
        stopped_at = -1
        while stopped_at != len(client.output):  # Some was on its way already.
            stopped_at = len(client.output)
            await asyncio.sleep(0.2)
            await client.say(type="ping", id=1)
            await client.hears_of("pong")
            client.messages.clear()

        await asyncio.sleep(1.2)
        await client.say(type="ping", id=2)
        assert (await client.hears_of("pong"))["id"] == 2
        assert len(client.output) == stopped_at
        assert is_alive(child)

        await client.say(type="signal", name="HUP")
        assert (await client.hears_of("exit"))["signal"] == "HUP"
        assert not is_alive(child)
