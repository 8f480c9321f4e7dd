"""The catalogue's heads of requests: what is no proper handshake is refused before anybody looks at its token."""

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

import pytest
from catalogue import Entry, case
from daemon import KEY, WAIT_S, Daemon, Reply
from daemon_process import StartDaemon
from expecting import (
    PROBLEM,
    assert_nobody_was_asked,
    assert_nothing_ran,
    expect_http,
    memory_stays_flat,
    variants,
)
from observing import until
from raw_peer import exchange

Start = Callable[..., Awaitable[Daemon]]
MIB = 1024 * 1024
UPGRADE = (
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    f"Sec-WebSocket-Key: {KEY}",
)


async def send_head(daemon: Daemon, start: str, *lines: str) -> Reply:
    """Send a request's head as it is written here, with our Host."""
    return await exchange(daemon.port, "\r\n".join([start, f"Host: {daemon.host}", *lines, "", ""]).encode())


@case("HS-15")
async def test_two_origins(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant("true")
    own = f"Origin: http://{daemon.host}"

    with variants() as variant:
        for second in (own, "Origin: https://evil.example", "oRIGIN: null"):
            with variant(second):
                expect_http(entry, await send_head(daemon, f"GET {path} HTTP/1.1", *UPGRADE, own, second))

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-20")
async def test_no_upgrade(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant("true")

    with variants() as variant:
        for headers in ([], [("Connection", "Upgrade")], [("Upgrade", "websocket")], [("Upgrade", "h2c")]):
            with variant(headers):
                reply = await daemon.get(path, PROBLEM, *headers)
                expect_http(entry, reply)
                assert reply.get("upgrade") == "websocket"
                assert "upgrade" in (reply.get("connection") or "").lower()

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-21")
async def test_an_old_version(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant("true")

    with variants() as variant:
        for version in ("8", "0", "14", "", "13, 8"):
            with variant(version):
                lines = (UPGRADE[0], UPGRADE[1], UPGRADE[3], f"Sec-WebSocket-Version: {version}")
                reply = await send_head(daemon, f"GET {path} HTTP/1.1", *lines)
                expect_http(entry, reply)
                assert reply.get("sec-websocket-version") == "13"

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-22")
async def test_a_bad_key(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant("true")
    short, long, odd = "c2hvcnQ=", "dGhpcyBpcyBtb3JlIHRoYW4gMTYgYnl0ZXM=", "not base64 at all!!!!=="

    with variants() as variant:
        for keys in ([short], [long], [odd], [""], [], [KEY, KEY], [KEY, short]):
            with variant(keys):
                lines = [*UPGRADE[:3], *(f"Sec-WebSocket-Key: {key}" for key in keys)]
                reply = await send_head(daemon, f"GET {path} HTTP/1.1", *lines)
                expect_http(entry, reply, variant="two keys" if len(keys) == 2 else "")

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-23")
async def test_an_upgrade_of_http_1_0(daemon: Daemon, entry: Entry) -> None:
    expect_http(entry, await send_head(daemon, f"GET {daemon.grant('true')} HTTP/1.0", *UPGRADE))

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-24")
async def test_too_much_of_a_head(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant("true")
    heads = {
        # The Host is a line too, and so are the four that ask for the upgrade.
        "129 lines": [f"X-{number}: 1" for number in range(129 - 5)],
        "64 KiB": [f"X: {'y' * 64 * 1024}"],
    }

    with variants() as variant:
        for name, lines in heads.items():
            with variant(name), memory_stays_flat(MIB):
                expect_http(entry, await send_head(daemon, f"GET {path} HTTP/1.1", *UPGRADE, *lines))

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)
    assert (await send_head(daemon, f"GET {path} HTTP/1.1", *UPGRADE, *heads["129 lines"][1:])).status == 101
    await until(lambda: not len(daemon.app.registry), "no session")


@case("HS-26")
async def test_a_head_that_comes_byte_by_byte(start_daemon: StartDaemon, entry: Entry) -> None:
    entry.wants("tcp")
    daemon = await start_daemon("--handshake-timeout", "1s")
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    begun = time.monotonic()

    async def drip() -> None:
        with contextlib.suppress(ConnectionError):
            for byte in f"GET /ws?token=x HTTP/1.1\r\nX: {'y' * 1000}".encode():
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.1)

    dripping = asyncio.ensure_future(drip())
    try:
        async with asyncio.timeout(WAIT_S):
            with contextlib.suppress(ConnectionError):
                assert await reader.read() == b""
    finally:
        dripping.cancel()
        writer.close()

    # One deadline for all of it: bytes that come in time gain nothing.
    assert 0.9 < time.monotonic() - begun < 5


@case("HS-35")
@pytest.mark.parametrize("base_path", ["", "/base"])
async def test_a_path_that_is_nearly_the_door(start: Start, entry: Entry, base_path: str) -> None:
    daemon = await start(base_path=base_path)
    daemon.grant("true")
    paths = ["/ws/", "//ws", "/ws%2f..", "/%77s", "/WS", "/ws/../ws", "/./ws", "/ws;a"]
    if base_path:
        paths = [*(base_path + path for path in paths), "/ws", "/%62ase/ws", "//base/ws", "/base%2fws"]

    with variants() as variant:
        for path in paths:
            with variant(path):
                expect_http(entry, await daemon.knock(f"{path}?token=t0ken", PROBLEM))
                expect_http(entry, await daemon.get(f"{path}?token=t0ken", PROBLEM))

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-36")
async def test_a_target_that_names_a_host(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant("true")

    with variants() as variant:
        for name in (f"http://evil.example{path}", f"http://{daemon.host}{path}", f"ws://evil.example{path}"):
            with variant(name):
                expect_http(entry, await send_head(daemon, f"GET {name} HTTP/1.1", *UPGRADE))

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)
