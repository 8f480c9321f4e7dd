"""Bodies and tokens of requests: bounds, deadlines, types; and what is checked before any of it is read."""

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from http_daemon import HttpDaemon

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


async def test_a_request_without_a_token_is_told_how_to_send_one(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    status, head, body = await ask(daemon, authorization="")

    assert (status, json.loads(body)["code"]) == (401, "unauthorized")
    assert "\r\nwww-authenticate: bearer\r\n" in head
    assert not daemon.questions


async def test_a_token_in_the_query_is_none(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answer = await daemon.client.post(
        "/process?token=t0ken", content=BODY, headers={"Authorization": "", "Content-Type": "application/json"}
    )

    assert answer.status_code == 401
    assert not daemon.questions


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("Basic dTpw", "unauthorized"),
        ("Bearer", "token_malformed"),
        ("Bearer a b", "token_malformed"),
        ("Bearer " + "t" * 8193, "token_too_long"),
        ("Bearer a\r\nauthorization: Bearer b", "token_ambiguous"),
    ],
)
async def test_what_is_no_bearer_token_is_refused(start_ours: Start, header: str, code: str) -> None:
    daemon = await start_ours(process_door=True)

    _, _, body = await ask(daemon, authorization=header)

    assert json.loads(body)["code"] == code
    assert not daemon.questions


async def test_a_foreign_page_is_refused_before_its_token_is_looked_at(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    status, _, body = await ask(daemon, origin="http://evil.example", authorization="")

    assert (status, json.loads(body)["code"]) == (403, "origin_denied")


async def test_a_foreign_host_is_refused(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    status, _, body = await ask(daemon, host="evil.example")

    assert (status, json.loads(body)["code"]) == (403, "host_denied")


@pytest.mark.parametrize(
    "content_type",
    ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "application/jsonx"],
)
async def test_ht_03_what_a_page_may_send_unasked_is_no_request(start_http: Start, content_type: str) -> None:
    daemon = await start_http(process_door=True)

    status, _, body = await ask(daemon, content_type=content_type)

    assert (status, json.loads(body)["code"]) == (415, "unsupported_media_type")
    assert not daemon.questions


@pytest.mark.parametrize(
    "content_type", ["Application/JSON", "application/json; charset=utf-8", "application/a.b+json"]
)
async def test_every_kind_of_json_is_taken(start_http: Start, content_type: str) -> None:
    daemon = await start_http(process_door=True)

    assert (await ask(daemon, content_type=content_type))[0] == 200


async def test_ht_05_a_body_that_says_it_is_too_large_is_refused_unread(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    status, head, body = await ask(daemon, b"", content_length="1025")

    assert (status, json.loads(body)["code"]) == (413, "too_big")
    assert "\r\nconnection: close\r\n" in head


async def test_the_largest_body_is_taken(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    assert (await ask(daemon, BODY.ljust(1024)))[0] == 200
    assert (await ask(daemon, BODY.ljust(1025)))[0] == 413


async def test_ht_06_a_body_of_no_declared_length_is_read_to_the_limit_and_no_further(start_http: Start) -> None:
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


async def test_ht_07_who_asks_whether_to_send_a_refused_body_is_not_told_to_go_on(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_body_bytes=1024)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="9999", expect="100-continue", **JSON)

        assert await connection.read_status() == 413


async def test_who_asks_whether_to_send_a_good_body_is_told_to_go_on(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length=str(len(BODY)), expect="100-continue", **JSON)
        assert await connection.read_status() == 100
        connection.writer.write(BODY)

        assert await connection.read_status() == 200


async def test_ht_08_a_body_that_never_comes_ends_in_408(start_http: Start) -> None:
    daemon = await start_http(process_door=True, body_timeout_s=0.2)

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="50", **{**JSON, **PROBLEM})
        connection.writer.write(b"{")
        head = await connection.read_head()

    assert head.split()[1] == "408"
    assert "connection: close" in head.lower()


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "identity, gzip"])
async def test_ht_09_an_encoded_body_is_refused_and_never_unpacked(start_http: Start, encoding: str) -> None:
    daemon = await start_http(process_door=True)

    status, _, body = await ask(daemon, content_encoding=encoding)

    assert (status, json.loads(body)["code"]) == (415, "unsupported_encoding")


HT_10 = {
    "garbage": b"\x00\xff{",
    "empty": b"",
    "duplicate keys": b'{"alias": "a", "alias": "b", "cmd": "true"}',
    "deep": b"[" * 100_000,
    "NaN": b'{"alias": "a", "cmd": "true", "timeout": NaN}',
    "no UTF-8": '{"alias": "a", "cmd": "true"}'.encode("utf-16"),
    "trailing bytes": BODY + b"x",
}


@pytest.mark.parametrize("body", HT_10.values(), ids=HT_10)
async def test_ht_10_what_is_not_json_is_refused(start_http: Start, body: bytes) -> None:
    daemon = await start_http(process_door=True)

    status, _, answer = await ask(daemon, body)

    assert (status, json.loads(answer)["code"]) == (400, "bad_json")
    assert not daemon.questions


async def test_who_leaves_before_its_body_is_complete_starts_nothing(
    start_http: Start, caplog: pytest.LogCaptureFixture
) -> None:
    daemon = await start_http(process_door=True)
    caplog.set_level("INFO")

    async with daemon.raw() as connection:
        connection.send("POST", "/process", content_length="50", **JSON)
        connection.writer.write(b"{")
        await connection.writer.drain()
    async with asyncio.timeout(10):
        while "client left before its command started" not in caplog.messages:  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    assert not daemon.questions
