"""Bodies of requests on both servers: bounds, deadlines, types. All that may be wrong with one has tests/cases."""

import json
from collections.abc import Awaitable, Callable

import pytest
from http_daemon import HttpDaemon
from observing import until

Start = Callable[..., Awaitable[HttpDaemon]]

BODY = json.dumps({"alias": "a", "cmd": "true"}).encode()
JSON = {"content_type": "application/json"}
PROBLEM = {"accept": "application/problem+json"}


async def ask(daemon: HttpDaemon, body: bytes = BODY, **headers: str) -> tuple[int, str, str]:
    """Post a body to the process door; return status, head and the rest, read to the connection's end."""
    async with daemon.raw() as connection:
        connection.send("POST", "/process", body, **{**JSON, **PROBLEM, "connection": "close", **headers})
        head = await connection.read_head()
        return int(head.split()[1]), head.lower(), (await connection.reader.read()).decode()


NO_BEARER = {
    "Basic dTpw": "unauthorized",
    "Bearer": "token_malformed",
    "Bearer a b": "token_malformed",
    "Bearer " + "t" * 8193: "token_too_long",
    "Bearer a\r\nauthorization: Bearer b": "token_ambiguous",
}


async def test_what_is_no_bearer_token_is_refused(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    answers = {header: json.loads((await ask(daemon, authorization=header))[2]) for header in NO_BEARER}

    assert {header: answer["code"] for header, answer in answers.items()} == NO_BEARER
    assert not daemon.questions


async def test_every_kind_of_json_is_taken(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    for content_type in ("Application/JSON", "application/json; charset=utf-8", "application/a.b+json"):
        assert (await ask(daemon, content_type=content_type))[0] == 200, content_type


async def test_a_body_that_says_it_is_too_large_is_refused_unread(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    status, head, body = await ask(daemon, b"", content_length="1025")

    assert (status, json.loads(body)["code"]) == (413, "too_big")
    assert "\r\nconnection: close\r\n" in head


async def test_the_largest_body_is_taken(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    assert (await ask(daemon, BODY.ljust(1024)))[0] == 200
    assert (await ask(daemon, BODY.ljust(1025)))[0] == 413


async def test_a_body_of_no_declared_length_is_read_to_the_limit_and_no_further(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="", transfer_encoding="chunked", **{**JSON, **PROBLEM})
        for _ in range(5):
            connection.writer.write(b"100\r\n" + b" " * 256 + b"\r\n")

        assert await connection.read_status() == 413, "and the last chunk has not even come"


async def test_the_answer_to_a_body_too_large_arrives_although_the_client_goes_on_sending(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True, max_body_bytes=1024)

    answer = await daemon.curl(
        "-s", "-o", "-", "-w", "%{http_code}", "-H", "Content-Type: application/json",
        "-H", "Expect:", "--data-binary", "@-", "{url}/process", data=b" " * 4_000_000,
    )  # fmt: skip

    assert answer.out.endswith(b"413")
    assert answer.exit_code == 0, answer.err


async def test_who_asks_whether_to_send_a_refused_body_is_not_told_to_go_on(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="9999", expect="100-continue", **JSON)

        assert await connection.read_status() == 413


async def test_a_draining_daemon_refuses_before_the_body_has_come(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.app.begin_drain()

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="50", **{**JSON, **PROBLEM})

        assert await connection.read_status() == 503


async def test_who_asks_whether_to_send_a_good_body_is_told_to_go_on(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length=str(len(BODY)), expect="100-continue", **JSON)
        assert await connection.read_status() == 100
        connection.writer.write(BODY)

        assert await connection.read_status() == 200


async def test_a_body_that_never_comes_ends_in_408(start_http: Start) -> None:
    daemon = await start_http(process_door=True, body_timeout_s=0.2)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="50", **{**JSON, **PROBLEM})
        connection.writer.write(b"{")
        head = await connection.read_head()

    assert head.split()[1] == "408"
    assert "connection: close" in head.lower()


async def test_who_leaves_before_its_body_is_complete_starts_nothing(
    start_http: Start, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = await start_http(process_door=True)
    caplog.set_level("INFO")

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="50", **JSON)
        connection.writer.write(b"{")
        await connection.writer.drain()
    await until(lambda: "client left before its command started" in caplog.messages, "the log's line")

    assert not daemon.questions
