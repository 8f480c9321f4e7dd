"""The catalogue's handshakes: refused with their status before anybody is asked, or let in as they are meant."""

import asyncio
import contextlib
import logging
import re
from collections.abc import Awaitable, Callable

import pytest
from catalogue import Entry, case
from daemon import Daemon, Reply
from expecting import (
    PROBLEM,
    SAME_ID,
    Audit,
    assert_nobody_was_asked,
    assert_nothing_ran,
    count_starts,
    expect_http,
    memory_stays_flat,
    variants,
)
from knocking import held_controller
from observing import list_children, until
from raw_peer import raw_peer
from running_server import BINARY, frame
from scripted_server import target

from ws_subprocess.telemetry import ConsoleFormatter, JsonFormatter

Start = Callable[..., Awaitable[Daemon]]
OURS = "https://ours.example"
MIB = 1024 * 1024


def is_forbidden(character: str) -> bool:
    """Tell whether a character may do something to a terminal that shows a log."""
    return character < " " or "\x7f" <= character <= "\x9f"


# The token.


@case("HS-01", "HS-02", "HS-03")
async def test_without_one_token_nobody_is_asked(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    paths = {"HS-01": ["/ws"], "HS-02": ["/ws?token="], "HS-03": ["/ws?token=a&token=b", "/ws?token=a&token=a"]}
    daemon.grant("true", token="a")

    for path in paths[entry.id]:
        expect_http(entry, await daemon.knock(path, PROBLEM), audit)
        text = await daemon.knock(path)
        assert (text.status, text.body.decode()) == (entry.wants("http").status, entry.wants("http").message)

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-04")
async def test_a_token_that_is_too_long(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    path = f"/ws?token={'x' * 8193}"
    await daemon.knock(path)

    with memory_stays_flat(MIB):
        for _ in range(100):
            expect_http(entry, await daemon.knock(path, PROBLEM), audit)

    assert_nobody_was_asked(daemon)
    assert (await daemon.knock(path[:-1], PROBLEM)).json()["code"] == "denied"
    assert daemon.list_asked() == ["x" * 8192]


@case("HS-06")
@pytest.mark.parametrize("formatter", [JsonFormatter(), ConsoleFormatter()], ids=["json", "console"])
async def test_control_characters_in_a_token(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, entry: Entry, formatter: logging.Formatter
) -> None:
    entry.wants("ok")
    caplog.set_level(logging.DEBUG)
    tokens = {"%00abc": "\0abc", "%0d%0aX:1": "\r\nX:1", "%1b[31m": "\x1b[31m"}

    with variants() as variant:
        for sent, token in tokens.items():
            with variant(sent):
                daemon.grant("true", token=token)
                daemon.controller.requests.clear()

                assert (await daemon.knock(f"/ws?token={sent}")).status == 101

                assert daemon.list_asked() == [token]
                query = target(daemon.controller.requests[0]).partition("?")[2]
                assert query == "token=" + "".join(c if c.isalnum() else f"%{ord(c):02X}" for c in token)
    await until(lambda: not len(daemon.app.registry), "no session")

    # The test's own client and loop are not the daemon.
    ours = [record for record in caplog.records if record.name.startswith("ws_subprocess")]
    # Ids are random, and may hold a token's letters.
    lines = [re.sub(r"\b[0-9a-f]{16,32}\b", "id", formatter.format(record)) for record in ours]
    assert len([line for line in lines if "session started" in line]) == len(tokens)
    assert not [line for line in lines if any(map(is_forbidden, line))]
    assert not [line for line in lines if "abc" in line or "X:1" in line or "[31m" in line]


@case("HS-08")
async def test_characters_that_mean_something_in_urls(start: Start, daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")
    asking = await start(controller_url=f"{daemon.controller.url}?tenant=a%20b&x=%26")
    tokens = {"%26%3D%23": "&=#", "+": " ", "%2B": "+", "%20": " ", "%252526": "%2526", "%2526": "%26"}

    with variants() as variant:
        for sent, token in tokens.items():
            with variant(sent):
                daemon.grant("true", token=token)
                daemon.controller.requests.clear()

                assert (await asking.knock(f"/ws?token={sent}")).status == 101

                assert daemon.list_asked() == [token]
                assert target(daemon.controller.requests[0]).startswith("/ws-controller?tenant=a%20b&x=%26&token=")
    await until(lambda: not len(asking.app.registry), "no session")


@case("HS-40")
async def test_a_token_that_counts_once(
    start: Start, tmp_path_factory: pytest.TempPathFactory, audit: Audit, entry: Entry
) -> None:
    daemon = await start(token_once=True, state_dir=str(tmp_path_factory.mktemp("state")))
    path = daemon.grant("sleep 1000")

    async def visit() -> Reply | None:
        """Return why the client was not let in, None when it was; stay until all have knocked."""
        reply = await daemon.knock(path, PROBLEM, SAME_ID)
        return None if reply.status == 101 else reply

    replies = await asyncio.gather(*(visit() for _ in range(50)))
    refused = [reply for reply in replies if reply is not None]
    await until(lambda: not len(daemon.app.registry), "no session")
    later = await daemon.knock(path, PROBLEM, SAME_ID)

    assert len(refused) == 49
    for reply in (*refused, later):
        expect_http(entry, reply, audit)
    assert len({reply.body for reply in (*refused, later)}) == 1
    assert count_starts(daemon) == len(audit.list_grants()) == 1
    assert not list_children()


# Who asks from where.


@case("HS-11", "HS-12", "HS-13")
async def test_a_page_of_another_origin(start: Start, audit: Audit, entry: Entry) -> None:
    origins = {
        "HS-11": ["https://ours.example.evil.io"],
        "HS-12": ["https://evilours.example", "https://ours.example@evil.io", "https://oursXexample"],
        "HS-13": ["null"],
    }
    daemon = await start(allow_origins=(OURS,))
    daemon.grant("true")

    with variants() as variant:
        for origin in origins[entry.id]:
            with variant(origin):
                expect_http(entry, await daemon.knock("/ws?token=t0ken", PROBLEM, ("Origin", origin)), audit)

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-16")
async def test_no_origin(start: Start, daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")
    strict = await start(require_origin=True)
    strict.grant("true")

    async with daemon.open(daemon.grant("echo hi")) as client:
        await client.ends()
    reply = await strict.knock("/ws?token=t0ken", PROBLEM)

    assert client.output == b"hi\r\n"
    assert (reply.status, reply.json()["code"]) == (403, "origin_required")
    assert_nobody_was_asked(strict)
    assert_nothing_ran(strict)
    assert (await strict.knock("/ws?token=t0ken", ("Origin", f"http://{strict.host}"))).status == 101
    await until(lambda: not len(strict.app.registry), "no session")


@case("HS-17")
async def test_an_origin_that_is_written_in_another_way(start: Start, entry: Entry) -> None:
    entry.wants("ok")
    daemon = await start(allow_origins=(OURS,))
    path = daemon.grant("true")
    statuses = {
        "https://OURS.Example": 101,
        "HTTPS://ours.example": 101,
        "https://ours.example:443": 101,
        "https://ours.example.": 403,
        "https://ours.example:444": 403,
    }

    found = {origin: (await daemon.knock(path, ("Origin", origin))).status for origin in statuses}

    assert found == statuses
    await until(lambda: not len(daemon.app.registry), "no session")


@case("HS-18")
async def test_a_host_that_somebody_else_can_point_at_us(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    path = daemon.grant("true")

    with variants() as variant:
        for host in ("attacker.example", "attacker.example:8866", "127.0.0.1.attacker.example"):
            with variant(host):
                reply = await daemon.knock(path, PROBLEM, ("Origin", f"http://{host}"), host=host)
                expect_http(entry, reply, audit)

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("HS-37")
async def test_a_forwarding_header_of_nobody_we_trust(start: Start, audit: Audit, entry: Entry) -> None:
    entry.wants("ok")
    daemon = await start(max_sessions_per_address=1)
    path = daemon.grant("sleep 1000")
    headers = [
        {name: value}
        for value in ("1.2.3.4", "5.6.7.8")
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded")  # Of these, proxies set one or another.
    ]

    async with daemon.open(path, additional_headers=headers[0]):
        for header in headers:
            reply = await daemon.knock(path, PROBLEM, *header.items())
            assert (reply.status, reply.json()["code"]) == (429, "too_many_sessions_user")

    assert {facts["peer"] for facts in [*audit.list_grants(), *audit.list_refusals()]} == {"127.0.0.1"}


@case("HS-30")
async def test_subprotocols_that_nobody_speaks(daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")

    async with daemon.open(daemon.grant("echo hi"), "chat.v9", "ssh") as client:
        closed = await client.ends()

    assert client.connection.subprotocol is None
    assert client.connection.response is not None
    assert "Sec-WebSocket-Protocol" not in client.connection.response.headers
    assert (client.frames, closed) == ([b"hi\r\n"], (1000, ""))


@case("HS-33")
@pytest.mark.parametrize("kind", ["principal", "address"])
async def test_more_sessions_than_somebodys_share(start: Start, audit: Audit, entry: Entry, kind: str) -> None:
    daemon = await start(**{f"max_sessions_per_{kind}": 2})
    path = daemon.grant("sleep 1000", principal="somebody")

    async with daemon.open(path), daemon.open(path):
        reply = await daemon.knock(path, PROBLEM)
        other = await daemon.knock(daemon.grant("sleep 1000", token="other", principal="somebody else"))

    expect_http(entry, reply, audit if kind == "principal" else None)
    assert int(reply.get("retry-after") or 0) > 0
    assert other.status == (101 if kind == "principal" else 429)
    assert daemon.list_asked().count("t0ken") == (3 if kind == "principal" else 2)
    await until(lambda: not len(daemon.app.registry), "no session")
    assert (await daemon.knock(path)).status == 101


# Clients in a hurry.


@case("HS-39")
async def test_a_client_that_leaves_while_the_controller_is_asked(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, entry: Entry
) -> None:
    entry.wants("tcp")
    caplog.set_level(logging.INFO)
    with held_controller(daemon):
        knocking = asyncio.ensure_future(daemon.knock(daemon.grant("true")))
        await until(daemon.list_asked, "the question")
        knocking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await knocking

        await until(lambda: daemon.controller.closed, "the end of the question")
        await until(lambda: "client left during handshake" in caplog.messages, "the log line")

    assert_nothing_ran(daemon)


@case("HS-41")
async def test_frames_that_come_with_the_handshake(daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")
    path = daemon.grant("cat", tty=False)
    early = b"".join(frame(BINARY, part) for part in (b"one ", b"two ", b"three"))

    async with raw_peer(daemon.port, path, early) as peer:
        assert await peer.read_output(13) == b"one two three"


@case("HS-41")
async def test_a_frame_that_comes_with_the_handshake_and_is_too_big(daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")
    too_long = frame(BINARY, bytes(MIB + 1))

    async with raw_peer(daemon.port, daemon.grant("cat", tty=False), too_long) as peer:
        code, _ = await peer.read_close()

    assert code == 1009
    assert "(else 1009)" in entry.invariant
    await until(lambda: not len(daemon.app.registry), "no session")
