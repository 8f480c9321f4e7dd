"""Questions to a real server: their form, their number, their end."""

import asyncio
import json
from urllib.parse import parse_qsl, urlsplit

import pytest
from asking import GOOD, ask_once, asking, be_refused
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from observing import until
from scripted_server import ScriptedServer, read_headers, respond, scripted, target

from ws_subprocess.auth.grants import ParsedGrant


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
