"""Questions to a real server, and what comes of its answers."""

import asyncio
import gzip
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observing import until
from scripted_server import Answer, ScriptedServer, read_headers, respond, scripted, target

from ws_subprocess.auth.controller import BODY_MAX_BYTES, Controller
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest
from ws_subprocess.process.environ import is_refused

REQUEST = LaunchRequest("terminal", "127.0.0.1")
GOOD = respond('{"command": "/bin/true"}')


@asynccontextmanager
async def asking(url: str, timeout_s: float = 5.0) -> AsyncIterator[Callable[[str], Any]]:
    """Give a function that asks about a token."""
    controller = Controller(url, timeout_s, is_refused)
    try:
        yield lambda token: controller.ask(Credentials(token), REQUEST)
    finally:
        await controller.close()


async def ask_once(answer: Answer, timeout_s: float = 5.0) -> tuple[ParsedGrant, ScriptedServer]:
    async with scripted(answer) as server, asking(server.url, timeout_s) as ask:
        return await ask("t0ken"), server


async def be_refused(answer: Answer, timeout_s: float = 5.0) -> GateError:
    async with scripted(answer) as server, asking(server.url, timeout_s) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken")
        assert len(server.requests) == 1, "asked once, whatever came of it"
    assert "t0ken" not in str(caught.value)
    return caught.value


# The question.


async def test_the_question_is_a_plain_get_with_the_token_in_its_query() -> None:
    parsed, server = await ask_once(GOOD)

    assert parsed.grant.command == "/bin/true"
    assert server.requests[0].startswith(b"GET /ws-controller?token=t0ken HTTP/1.1\r\n")
    assert read_headers(server.requests[0]) == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "ws-subprocess",
    }


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "/?token=t"),
        ("/", "/?token=t"),
        ("/c", "/c?token=t"),
        ("/c?", "/c?token=t"),
        ("/c?a=1&b=%20+", "/c?a=1&b=%20+&token=t"),
        ("/c?a=1&", "/c?a=1&&token=t"),
        ("/c%2Fd?x", "/c%2Fd?x&token=t"),
    ],
)
async def test_the_token_is_added_to_whatever_query_there_is(path: str, expected: str) -> None:
    async with scripted(GOOD) as server, asking(f"http://127.0.0.1:{server.port}{path}") as ask:
        await ask("t")

    assert target(server.requests[0]) == expected


ODD_TOKENS = [
    "&",
    "=",
    "#",
    "+",
    " ",
    "a b",
    "%2526",
    "%",
    "\x00abc",
    "\r\nX: 1",
    "\n",
    "\x1b[31m",
    "?",
    "/",
    "..",
    ";",
]


@pytest.mark.parametrize("token", [*ODD_TOKENS, "\u00e9\u20ac\U0001f600", "&token=other", "x" * 8192], ids=ascii)
async def test_the_controller_reads_exactly_the_characters_of_the_token(token: str) -> None:
    async with scripted(GOOD) as server, asking(server.url + "?a=1") as ask:
        await ask(token)

    query = urlsplit(target(server.requests[0])).query
    assert parse_qsl(query, strict_parsing=True) == [("a", "1"), ("token", token)]
    assert server.requests[0].count(b"\r\n") == 6, "a token adds no header"


@given(st.text(min_size=1, max_size=40))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_token_arrives_as_it_is(token: str) -> None:
    async def ask_about_it() -> str:
        _, server = await ask_about(token)
        return target(server.requests[0])

    async def ask_about(token: str) -> tuple[ParsedGrant, ScriptedServer]:
        async with scripted(GOOD) as server, asking(server.url) as ask:
            return await ask(token), server

    query = urlsplit(asyncio.run(ask_about_it())).query
    assert parse_qsl(query, keep_blank_values=True) == [("token", token)]


async def test_two_questions_use_one_connection() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        await ask("a")
        await ask("b")

    assert [target(request) for request in server.requests] == ["/ws-controller?token=a", "/ws-controller?token=b"]
    assert server.connections == 1


async def test_many_questions_at_once_are_all_answered() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.01)
        token = target(server.requests[0])
        writer.write(respond(json.dumps({"command": "/bin/true", "title": token})))

    async with scripted(echo) as server, asking(server.url) as ask:
        await asyncio.gather(*(ask(f"t{number}") for number in range(50)))

    assert len(server.requests) == 50


async def test_no_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted(respond("proxied", "500 No")) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        parsed, _ = await ask_once(GOOD)

    assert parsed.grant.command == "/bin/true"
    assert proxy.requests == []


async def test_no_cookie_is_kept() -> None:
    cookie = respond('{"command": "/bin/true"}', "200 OK", "Set-Cookie: session=1; Path=/")
    async with scripted(cookie) as server, asking(server.url) as ask:
        await ask("a")
        await ask("b")

    assert all("cookie" not in read_headers(request) for request in server.requests)


async def test_no_redirect_is_followed() -> None:
    async with scripted(GOOD) as other:
        error = await be_refused(respond("", "302 Found", f"Location: {other.url}"))

    assert error.code == "denied"
    assert other.requests == []


async def test_a_question_that_is_no_longer_wanted_is_given_up() -> None:
    async def stall(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    async with scripted(stall) as server, asking(server.url) as ask:
        question = asyncio.ensure_future(ask("t"))
        await until(lambda: server.requests, "the question")

        question.cancel()
        with pytest.raises(asyncio.CancelledError):
            await question

        await until(lambda: server.closed, "the end of its connection")


async def test_questions_given_up_at_any_moment_cost_later_ones_nothing() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        for turns in range(200):
            question = asyncio.ensure_future(ask("t"))
            for _ in range(turns % 25):
                await asyncio.sleep(0)
            question.cancel()
            await asyncio.wait([question])

        parsed = await ask("last")

    assert parsed.grant.command == "/bin/true"


# The answer.


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
