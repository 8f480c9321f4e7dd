"""The catalogue's answers of controllers: only a whole, plain, valid grant starts anything, and all else says why."""

import asyncio
import gzip
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from answering import PATH, expect_refusals, knock
from catalogue import Entry, case
from daemon import Daemon
from expecting import (
    Audit,
    assert_nothing_ran,
    dump,
    memory_stays_flat,
)
from knocking import held_controller
from observing import until
from scripted_server import Answer, read_headers, respond

Start = Callable[..., Awaitable[Daemon]]
MIB = 1024 * 1024
GRANT = {"command": "/bin/true"}
GOOD = dump(GRANT)


def break_off(data: bytes) -> Answer:
    """Return an answer after which the connection ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        raise ConnectionResetError

    return answer


def repeat(head: bytes, piece: bytes, wait_s: float = 0.0) -> Answer:
    """Return an answer that never ends."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(head)
        while not reader.at_eof():
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(wait_s)

    return answer


def spoil(key: str, *values: Any, **more: Any) -> dict[str, Answer]:
    """Return answers whose grant is good but for one key."""
    return {f"{key} {value!a:.40}": respond(dump({**GRANT, **more, key: value})) for value in values}


def list_answers(case_id: str) -> dict[str, Answer]:
    """Return what the controller answers, by variant."""
    match case_id:
        case "CT-02":
            return {status: respond(GOOD, f"{status} Oops") for status in ("500", "502", "503")}
        case "CT-04":
            return {status: respond("" if status == "204" else GOOD, f"{status} X") for status in ("204", "201", "206")}
        case "CT-11":
            chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            return {
                "length": break_off(respond(GOOD, length=len(GOOD) + 1)),
                "truncated chunk": break_off(chunked + b"ff\r\n" + GOOD),
                "no last chunk": break_off(chunked + b"%x\r\n" % len(GOOD) + GOOD + b"\r\n"),
            }
        case "CT-12":
            bodies = ["", "<html></html>", GOOD.decode() + "garbage", GOOD.decode() * 2, "{"]
            return {body: respond(body) for body in bodies}
        case "CT-13":
            text = GOOD.decode()
            bad = b'{"command": "/bin/true\xff"}'
            encoded = {"BOM": text.encode("utf-8-sig"), "UTF-16": text.encode("utf-16"), "invalid UTF-8": bad}
            return {name: respond(body) for name, body in encoded.items()}
        case "CT-15":
            nested = '{"command":"/bin/true","env":{"A":"1","A":"2"}}'
            return {body: respond(body) for body in ('{"command":"/bin/true","command":"/bin/sh"}', nested)}
        case "CT-16":
            return {body: respond(body) for body in ("[]", '"x"', "null", "5", "true")}
        case "CT-17":
            return {"none": respond("{}"), **spoil("command", None, 5, ["/bin/true"], {}, True)}
        case "CT-18":
            return spoil("command", "")
        case "CT-21":
            return spoil("command", "/bin/true\0", "/bin/true\n", "/bin/\ud800true", "/bin/true\x7f")
        case "CT-27":
            return {"10001": respond(dump({**GRANT, "args": [""] * 10_001}))}
        case "CT-31":
            names = {"with =": {"A=B": "x"}, "empty": {"": "x"}, "NUL": {"A\0": "x"}, "NUL in the value": {"A": "\0"}}
            values = {f"value {value!r}": {"A": value} for value in (1, None, True, ["x"], {})}
            return {name: respond(dump({**GRANT, "env": env})) for name, env in {**names, **values}.items()}
        case "CT-32":
            terms = ("../../x", "xterm\x1b[31m", "/etc/passwd", "", "x" * 65, "a b", "\u00e9")
            return {ascii(term): respond(dump({**GRANT, "env": {"TERM": term}})) for term in terms}
        case "CT-35":
            numbers = (0, -1, 65536, 1_000_000_000, 1e9, "80", True, 80.5, 2001, float("nan"))
            return {**spoil("rows", *numbers), **spoil("cols", *numbers)}
        case "CT-36":
            seconds = [spoil(key, -1, 0, float("nan"), "5") for key in ("idle_timeout_s", "max_lifetime_s")]
            counts = [
                spoil(key, -1, 0, 1.5, float("nan"), "5")
                for key in ("max_output_bytes", "max_memory_bytes", "max_processes", "max_cpu_s", "max_open_files")
            ]
            huge = {
                f"{key} 1e400": respond(f'{{"command": "/bin/true", "{key}": 1e400}}')
                for key in ("idle_timeout_s", "max_lifetime_s", "max_output_bytes", "max_memory_bytes")
            }
            return {name: answer for spoiled in [*seconds, *counts, huge] for name, answer in spoiled.items()}
    raise KeyError(case_id)


@case("CT-02", "CT-04", "CT-11", "CT-12", "CT-13", "CT-15", "CT-16", "CT-17")
@case("CT-18", "CT-21", "CT-27", "CT-31", "CT-32", "CT-35", "CT-36")
async def test_an_answer_that_is_no_grant(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    await expect_refusals(entry, daemon, audit, list_answers(entry.id))


@case("CT-05")
async def test_informational_answers(start: Start, audit: Audit, entry: Entry) -> None:
    daemon = await start(controller_timeout_s=0.5)
    hint = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    switching = b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"

    with memory_stays_flat(2 * MIB):
        await expect_refusals(
            entry, daemon, audit, {"101": break_off(switching + GOOD), "103 without end": repeat(b"", hint)}
        )
    daemon.controller.answer = hint + respond(GOOD)
    assert (await knock(daemon)).status == 101
    assert "1xx skipped" in entry.invariant
    await until(lambda: not len(daemon.app.registry), "no session")


@case("CT-08")
async def test_an_answer_that_drips(start: Start, audit: Audit, entry: Entry) -> None:
    daemon = await start(controller_timeout_s=0.5)
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(GOOD)}\r\n\r\n".encode()

    begun_s = asyncio.get_running_loop().time()
    await expect_refusals(entry, daemon, audit, {"body": repeat(head, b" ", 0.1), "head": repeat(b"", b"H", 0.1)})

    assert asyncio.get_running_loop().time() - begun_s < 2 * 0.5 + 1


@case("CT-09")
async def test_an_answer_without_end(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    piece = b" " * 64 * 1024
    length = f"HTTP/1.1 200 OK\r\nContent-Length: {10 * 1024**3}\r\n\r\n".encode()
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    await expect_refusals(entry, daemon, audit, {"first, for the memory that stays": repeat(length, piece)})

    with memory_stays_flat(2 * MIB):
        await expect_refusals(
            entry,
            daemon,
            audit,
            {"10 GiB": repeat(length, piece), "chunks": repeat(chunked, b"10000\r\n" + piece + b"\r\n")},
        )

    # And the daemon has hung up: nobody sends the rest to nobody.
    await until(lambda: daemon.controller.closed == daemon.controller.connections, "the end of the connections")


@case("CT-10")
async def test_a_gzip_bomb(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    bomb = gzip.compress(bytes(16 * MIB))
    answers: dict[str, Answer] = {
        encoding: respond(bomb, "200 OK", f"Content-Encoding: {encoding}")
        for encoding in ("gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity", "x")
    }

    with memory_stays_flat(2 * MIB):
        await expect_refusals(entry, daemon, audit, answers)

    assert read_headers(daemon.controller.requests[-1])["accept-encoding"] == "identity"


@case("CT-40")
async def test_heads_that_no_server_should_send(daemon: Daemon, audit: Audit, entry: Entry) -> None:
    harmless = [
        respond(GOOD, "200 OK", "Set-Cookie: a=b; Path=/", "Location: http://127.0.0.1:1/"),
        respond(GOOD, "200 OK", *(f"X-{number}: 1" for number in range(1000))),
    ]
    bad: dict[str, Answer] = {
        "64 KiB": respond(GOOD, "200 OK", f"X: {'y' * 64 * 1024}"),
        "status line": break_off(b"garbage\r\n\r\n" + GOOD),
        "status": break_off(b"HTTP/1.1 2OO OK\r\n\r\n" + GOOD),
        "HTTP/0.9": break_off(GOOD),
    }

    with memory_stays_flat(2 * MIB):
        await expect_refusals(entry, daemon, audit, bad)
    entry.wants("ok", "good but odd")
    for answer in harmless:
        daemon.controller.requests.clear()
        daemon.controller.answer = answer
        statuses = [(await knock(daemon)).status for _ in range(2)]
        assert statuses == [101, 101]
        assert not [request for request in daemon.controller.requests if b"ookie" in request]
    await until(lambda: not len(daemon.app.registry), "no session")


# Grants that run.


@case("CT-23", "CT-29")
async def test_keys_that_are_left_out_or_unknown(daemon: Daemon, entry: Entry) -> None:
    entry.wants("ok")
    base = {"command": "/usr/bin/printf", "args": ["%s", "ran"]}
    grants = {
        "CT-23": [{"command": "/usr/bin/env", "args": None}, {"command": "/usr/bin/env"}],
        "CT-29": [{**base, "colour": "red", "x": {"y": [1]}}],
    }

    for grant in grants[entry.id]:
        daemon.grants["t0ken"] = grant
        async with daemon.open(PATH) as client:
            assert await client.ends() == (1000, "")
        assert (b"WS_SUBPROCESS_SESSION=" if entry.id == "CT-23" else b"ran") in client.output

    (family,) = daemon.app.metrics.unknown_keys.collect()
    ignored = next(sample.value for sample in family.samples if sample.name.endswith("_total"))
    assert ignored == (2 if entry.id == "CT-29" else 0)


@case("CT-28")
async def test_arguments_that_a_shell_would_act_on(daemon: Daemon, tmp_path: Path, entry: Entry) -> None:
    entry.wants("ok")
    marker = tmp_path / "marker"
    args = ["$(id)", f"; touch {marker}", f"| touch {marker}", f"`touch {marker}`", "*", "~", "a b", "", "\n", "'\"\\"]
    args += ["-rf", "$HOME", "\u00e9\U0001f600", "\x1b[31m", f"&& touch {marker}", "{a,b}", "!!", "%s", "\r\n"]

    # Not `exec`: what is read is the command line of the command itself.
    async with daemon.open(
        daemon.grant(command="/bin/sh", args=["-c", "cat /proc/$$/cmdline; :", "sh", *args], tty=False)
    ) as client:
        await client.ends()

    assert client.output.split(b"\0")[4:-1] == [arg.encode() for arg in args]
    assert not marker.exists()


@case("CT-42")
async def test_a_grant_for_a_client_that_has_gone(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, entry: Entry
) -> None:
    entry.wants("ok")
    caplog.set_level("INFO")
    daemon.grant("true")

    with held_controller(daemon) as release:
        knocking = asyncio.ensure_future(daemon.knock(PATH))
        await until(lambda: daemon.controller.requests, "the question")
        knocking.cancel()
        await asyncio.wait([knocking])
        # The answer comes with the news that nobody waits for it any more.
        release()
        await until(lambda: "client left during handshake" in caplog.messages, "the news")

    assert_nothing_ran(daemon)
