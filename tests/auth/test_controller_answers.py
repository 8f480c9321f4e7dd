"""Answers of a real server, good HTTP or not, and what comes of each."""

import asyncio
import gzip
import socket

import pytest
from asking import GOOD, ask_once, asking, be_refused
from scripted_server import Answer, respond

from ws_subprocess.auth.controller import BODY_MAX_BYTES, HEAD_MAX_BYTES
from ws_subprocess.errors import GateError


@pytest.mark.parametrize("status", ["201 Created", "202 Accepted", "203 X", "204 No Content", "206 Partial Content"])
@pytest.mark.parametrize("body", ["", '{"command": "/bin/true"}'])
async def test_of_good_statuses_only_200_lets_anything_run(status: str, body: str) -> None:
    error = await be_refused(respond("" if status.startswith("204") else body, status))

    assert error.code == "denied"
    assert error.fault.status == 403


STATUSES = ["300 X", "301 X", "302 X", "304 X", "307 X", "400 X", "401 X", "403 X", "404 X", "410 X", "429 X", "499 X"]


@pytest.mark.parametrize("status", STATUSES)
async def test_any_other_status_is_a_refusal(status: str) -> None:
    assert (await be_refused(respond('{"command": "/bin/true"}', status))).code == "denied"


@pytest.mark.parametrize("status", ["500 X", "502 X", "503 X", "504 X", "599 X"])
async def test_a_failure_of_the_controller_is_not_a_refusal(status: str) -> None:
    error = await be_refused(respond('{"command": "/bin/true"}', status))

    assert (error.code, error.fault.status) == ("controller_error", 502)
    assert status[:3] in error.detail


async def test_an_informational_answer_before_the_real_one_is_skipped() -> None:
    parsed, _ = await ask_once(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + GOOD)

    assert parsed.grant.command == "/bin/true"


async def test_switching_protocols_unasked_is_no_http() -> None:
    error = await be_refused(b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n")

    assert error.code == "controller_bad_answer"


def break_off(data: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        raise ConnectionResetError

    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"HTTP/0.9 hello, this is a body without a head\r\n\r\n",
        b"garbage\r\n\r\n",
        b"GET /ws-controller?token=t0ken HTTP/1.1\r\n\r\n",  # An echo: `be_refused` looks for the token in the reason.
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 24\r\nContent-Length: 3\r\n\r\n" + b'{"command": "/bin/true"}',
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nX: " + b"y" * 200_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n18\r\n" + b'{"command": "/bin/true"',
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}",
        respond('{"command": "/bin/true"}', length=25),
    ],
    ids=lambda data: ascii(data[:60].decode()),
)
async def test_what_is_no_complete_http_answer_is_the_controllers_fault(data: bytes) -> None:
    error = await be_refused(break_off(data))

    assert (error.code, error.fault.status) == ("controller_bad_answer", 502)


async def test_a_thousand_headers_are_no_reason_to_refuse() -> None:
    parsed, _ = await ask_once(respond('{"command": "/bin/true"}', "200 OK", *(f"X-{n}: 1" for n in range(1000))))

    assert parsed.grant.command == "/bin/true"


async def test_more_headers_than_anybody_needs_are_the_controllers_fault() -> None:
    error = await be_refused(respond('{"command": "/bin/true"}', "200 OK", "X: " + "y" * 65_536))

    assert (error.code, error.fault.status) == ("controller_bad_answer", 502)
    assert f"at most {HEAD_MAX_BYTES}" in error.detail


async def test_headers_for_browsers_mean_nothing_on_a_grant() -> None:
    headers = ("Set-Cookie: a=1", "Location: http://127.0.0.1:1/", "Refresh: 0", "Link: </x>; rel=preload")
    parsed, server = await ask_once(respond('{"command": "/bin/true"}', "200 OK", *headers))

    assert parsed.grant.command == "/bin/true"
    assert len(server.requests) == 1


async def test_nobody_there_is_told_apart_with_a_time_to_come_back() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{sock.getsockname()[1]}/"
        async with asking(url) as ask:
            with pytest.raises(GateError) as caught:
                await ask("t")

    assert (caught.value.code, caught.value.fault.status) == ("controller_unreachable", 503)
    assert caught.value.retry_after_s
    assert "t" not in caught.value.detail.split()


async def test_a_controller_that_does_not_answer_is_waited_for_no_longer_than_agreed() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    error = await be_refused(stall, timeout_s=0.1)

    assert (error.code, error.fault.status) == ("controller_timeout", 504)
    assert error.retry_after_s
    assert "0.1 s" in error.detail


async def test_a_drip_of_bytes_does_not_put_the_deadline_off() -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b" ")
            await writer.drain()
            await asyncio.sleep(0.01)

    begun = asyncio.get_running_loop().time()
    error = await be_refused(drip, timeout_s=0.2)

    assert error.code == "controller_timeout"
    assert asyncio.get_running_loop().time() - begun < 2


async def test_an_endless_body_is_read_no_further_than_64_kib() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b" " * 4096 + b"\r\n")
            await writer.drain()
            sent += 4096

    error = await be_refused(flood)

    assert (error.code, error.fault.status) == ("controller_too_big", 502)
    assert sent < 16 * 1024 * 1024, "what the kernel's buffers hold, not more"


@pytest.mark.parametrize(("excess", "is_granted"), [(0, True), (1, False)])
async def test_an_answer_may_have_64_kib_and_not_a_byte_more(excess: int, is_granted: bool) -> None:
    frame = '{"command": "/bin/true", "x": ""}'
    body = frame[:-2] + "y" * (BODY_MAX_BYTES - len(frame) + excess) + frame[-2:]

    if is_granted:
        assert (await ask_once(respond(body)))[0].unknown_keys == ("x",)
    else:
        assert (await be_refused(respond(body))).code == "controller_too_big"


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip", "\u00fc"])
async def test_an_encoded_body_is_refused_unseen(encoding: str) -> None:
    bomb = gzip.compress(b" " * 10_000_000)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {encoding}\r\nContent-Length: {len(bomb)}\r\n\r\n".encode("latin-1")

    error = await be_refused(head + bomb)

    assert error.code == "controller_bad_encoding"
    assert error.detail.isascii()


async def test_the_encoding_that_is_none_is_fine() -> None:
    parsed, _ = await ask_once(respond('{"command": "/bin/true"}', "200 OK", "Content-Encoding: Identity"))

    assert parsed.grant.command == "/bin/true"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"<!DOCTYPE html><title>Log in</title>",
        b'{"command": "/bin/true"} trailing',
        b'{"command": "/bin/true"}{"command": "/bin/sh"}',
        b'\xef\xbb\xbf{"command": "/bin/true"}',
        '{"command": "/bin/true"}'.encode("utf-16"),
        '{"command": "/bin/true"}'.encode("utf-16-le"),
        b'{"command": "/bin/\xff"}',
        b'{"command": "/bin/true", "command": "/bin/sh"}',
        b'{"command": "/bin/true", "env": {"A": "1", "A": "2"}}',
        b'{"command": "/bin/true", "max_lifetime_s": NaN}',
        b'{"command": "/bin/true", "max_lifetime_s": -Infinity}',
        b'{"command": "/bin/true", "x": ' + b"9" * 5000 + b"}",
        b"[" * 60_000,
        b'{"a":' * 10_000,
    ],
    ids=lambda body: ascii(body[:40]),
)
async def test_what_is_no_json_as_everybody_reads_it_is_refused(body: bytes) -> None:
    error = await be_refused(respond(body))

    assert (error.code, error.fault.status) == ("controller_bad_json", 502)
    assert str(len(body)) in error.detail


@pytest.mark.parametrize("body", ["[]", '"x"', "null", "5", "true", '["/bin/true"]'])
async def test_json_that_is_no_object_is_refused(body: str) -> None:
    assert (await be_refused(respond(body))).code == "controller_bad_schema"


async def test_unknown_keys_are_ignored_and_told() -> None:
    parsed, _ = await ask_once(respond('{"command": "/bin/true", "color": 1, "x": null}'))

    assert parsed.grant.command == "/bin/true"
    assert parsed.unknown_keys == ("color", "x")
