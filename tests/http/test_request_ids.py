"""Request ids: in every answer, in problems, in the log and the audit."""

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from every_door import EveryDoor, list_operations, run_every_door
from http_daemon import BEARER, WAIT_S, HttpDaemon
from observing import until

from ws_subprocess.doors.request_ids import choose_id
from ws_subprocess.service.audit import AUDIT_LOGGER
from ws_subprocess.telemetry import JsonFormatter

PROBLEM = {"Accept": "application/problem+json"}
MADE = re.compile("[0-9a-f]{16}")


@pytest_asyncio.fixture
async def doors(server: str, tmp_path: Path) -> AsyncIterator[EveryDoor]:
    async with run_every_door(tmp_path, server, metrics="all", max_jobs_running=1) as running:
        yield running


class Lines(logging.Handler):
    """Keeps the log as it would be written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonFormatter())
        self.all: list[dict[str, Any]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.all.append(json.loads(self.format(record)))

    def of(self, request_id: str) -> list[tuple[str, str]]:
        """Return logger and message of the lines of a request."""
        return [(line["logger"], line["message"]) for line in self.all if line.get("request_id") == request_id]


@pytest.fixture
def lines() -> Iterator[Lines]:
    handler, logger = Lines(), logging.getLogger("ws_subprocess")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    yield handler
    logger.setLevel(level)
    logger.removeHandler(handler)


async def test_every_answer_tells_the_id_that_was_sent_and_every_problem_too(doors: EveryDoor) -> None:
    for number, each in enumerate(list_operations(doors.document)):
        sent = f"mine.{number}-{each.method}_x"
        for headers in (BEARER, {"Authorization": ""}):
            answer = await doors.ask(each, headers=PROBLEM | headers | {"X-Request-Id": sent})

            assert answer.headers.get_list("x-request-id") == [sent], each
            if answer.headers.get("content-type") == "application/problem+json":
                assert answer.json()["request_id"] == sent


async def test_what_no_route_answers_has_an_id_as_well(doors: EveryDoor) -> None:
    for method, path in (("GET", "/nothing"), ("PUT", "/payloads"), ("PATCH", "/process"), ("TRACE", "/rpc")):
        answer = await doors.http.client.request(method, path, headers=PROBLEM)

        assert MADE.fullmatch(answer.headers["x-request-id"]), path
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_without_one_each_request_gets_its_own(doors: EveryDoor) -> None:
    answers = [await doors.http.client.get("/healthz") for _ in range(20)]

    ids = {answer.headers["x-request-id"] for answer in answers}
    assert len(ids) == 20
    assert all(map(MADE.fullmatch, ids))


@pytest.mark.parametrize("kept", ["a", "0", "A-b_c.9", "x" * 128])
def test_an_id_that_can_be_used_is_kept(kept: str) -> None:
    assert choose_id([(b"x-request-id", kept.encode())]) == kept


@pytest.mark.parametrize(
    "sent", [b"", b"x" * 129, b"a b", b"a\tb", b'a"', b"a\xffb", b"a\nb", b"a/b", b"a\x1b[31m", b"{}", b"\xc3\xa4"]
)
def test_any_other_is_replaced(sent: bytes) -> None:
    assert MADE.fullmatch(choose_id([(b"x-request-id", sent)]))


def test_of_two_neither_is_kept() -> None:
    assert MADE.fullmatch(choose_id([(b"x-request-id", b"a"), (b"x-request-id", b"a")]))


async def test_a_streamed_answer_begins_with_it(doors: EveryDoor) -> None:
    request = {"alias": "a", "cmd": "/bin/echo", "args": ["hello"]}
    answer = await doors.http.client.post("/process", json=request, headers={"X-Request-Id": "stream-1"})

    assert (answer.content, answer.headers["x-request-id"]) == (b"hello\n", "stream-1")


async def test_the_audit_and_the_log_tell_which_request_started_and_ended_what(doors: EveryDoor, lines: Lines) -> None:
    request = {"alias": "a", "cmd": "/bin/echo"}
    await doors.http.client.post("/process", json=request, headers={"X-Request-Id": "start-1"})
    await doors.http.client.post("/process", json=request, headers={"X-Request-Id": "none-1", "Authorization": ""})

    await until(lambda: len(lines.of("start-1")) == 2, "both lines")
    assert lines.of("start-1") == [(AUDIT_LOGGER, "session started"), ("ws_subprocess.service.launch", "session ended")]
    assert lines.of("none-1") == [(AUDIT_LOGGER, "refused")]


async def test_a_job_that_waits_for_another_is_logged_for_its_own_request(doors: EveryDoor, lines: Lines) -> None:
    client = doors.http.client
    for name in ("first", "second", "third"):
        body = {"cmd": "/bin/sleep", "params": ["0.1"]}
        await client.post("/payloads", json=body, headers={"X-Request-Id": name})
    await until(lambda: len(lines.of("third")) >= 3, "the last job's end", WAIT_S)

    for name in ("first", "second", "third"):
        messages = [message for _, message in lines.of(name)]
        assert messages == ["job accepted", "session started", "session ended"], name


async def test_a_terminal_is_opened_and_refused_with_the_id_of_its_handshake(
    start_ours: Callable[..., Awaitable[HttpDaemon]], lines: Lines
) -> None:
    daemon = await start_ours()
    daemon.allow(command="/bin/true")
    for token, status in (("t0ken", "101"), ("unknown", "403")):
        async with daemon.raw() as connection:
            upgrade = {"upgrade": "websocket", "connection": "Upgrade", "sec_websocket_version": "13"}
            upgrade |= {"sec_websocket_key": "AAAAAAAAAAAAAAAAAAAAAA==", "content_length": ""}
            connection.send("GET", "/ws", **upgrade, authorization=f"Bearer {token}", x_request_id=f"{token}-1")
            head = await connection.read_head()
        assert head.split()[1] == status
        assert f"x-request-id: {token}-1\r\n" in head.lower()
    await until(lambda: len(lines.of("t0ken-1")) == 2, "the session's end")

    assert lines.of("unknown-1") == [(AUDIT_LOGGER, "refused")]


async def test_concurrent_requests_do_not_mix_their_ids(doors: EveryDoor) -> None:
    sent = [f"request-{number}" for number in range(200)]
    answers = await asyncio.gather(
        *(doors.http.client.get("/nothing", headers=PROBLEM | {"X-Request-Id": each}) for each in sent)
    )

    assert [answer.json()["request_id"] for answer in answers] == sent
