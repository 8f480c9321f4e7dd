"""How many are asked at a time, and what becomes of those who wait; what is not asked while nobody answers."""

import asyncio
import logging
import math
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from asking import GOOD, REQUEST, asking
from observing import until
from scripted_server import ScriptedServer, respond, scripted, target

from ws_subprocess.auth.breaker import FAILURES_MAX, REST_S
from ws_subprocess.auth.controller import Controller, ControllerSettings
from ws_subprocess.auth.questions import RETRY_PAUSES_S
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials
from ws_subprocess.process.environ import is_refused

NOWHERE = "http://127.0.0.1:1/"


@asynccontextmanager
async def holding() -> AsyncIterator[tuple[ScriptedServer, asyncio.Event]]:
    """Serve answers only once the event is set."""
    released = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        gone = asyncio.ensure_future(reader.read(1))
        free = asyncio.ensure_future(released.wait())
        await asyncio.wait([gone, free], return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        free.cancel()
        await asyncio.wait([gone, free])
        writer.write(GOOD)

    async with scripted(hold) as server:
        yield server, released


async def fail(question: Any) -> GateError:
    with pytest.raises(GateError) as caught:
        await question
    assert "t0ken" not in str(caught.value)
    return caught.value


async def test_no_more_are_asked_at_a_time_than_agreed_and_the_others_in_their_order() -> None:
    async with holding() as (server, released), asking(server.url, max_questions=3) as ask:
        questions = [asyncio.ensure_future(ask(f"t{number}")) for number in range(12)]
        await until(lambda: len(server.requests) == 3, "the first questions")
        await asyncio.sleep(0.05)
        assert len(server.requests) == 3

        released.set()
        await asyncio.gather(*questions)

    asked = [int(target(request).rpartition("t")[2]) for request in server.requests]
    assert len(asked) == 12
    # Those of one batch may overtake each other on their connections.
    assert all(abs(number - place) < 3 for place, number in enumerate(asked))


async def test_who_waits_in_vain_is_told_to_come_back_and_was_not_asked_about() -> None:
    async with holding() as (server, _), asking(server.url, 0.2, max_questions=1) as ask:
        first = asyncio.ensure_future(ask("first"))
        await until(lambda: server.requests, "the first question")
        error = await fail(ask("t0ken"))
        late = await fail(first)

    assert (error.code, error.fault.status) == ("controller_busy", 503)
    assert error.retry_after_s
    assert "controller_max_questions = 1" in error.detail
    assert late.code == "controller_timeout"
    assert [target(request) for request in server.requests] == ["/ws-controller?token=first"]


async def test_those_who_leave_while_they_wait_take_no_place_along() -> None:
    async with holding() as (server, released), asking(server.url, max_questions=2) as ask:
        for _ in range(5):
            leaving = [asyncio.ensure_future(ask("t0ken")) for _ in range(40)]
            await asyncio.sleep(0.005)
            for question in leaving:
                question.cancel()
            await asyncio.wait(leaving)
        released.set()

        await asyncio.gather(*(ask("t0ken") for _ in range(10)))


async def test_a_place_that_is_given_to_one_who_just_left_goes_to_the_next() -> None:
    async with holding() as (server, released), asking(server.url, max_questions=1) as ask:
        first, second, third = (asyncio.ensure_future(ask(name)) for name in ("a", "b", "c"))
        await until(lambda: server.requests, "the first question")

        released.set()
        first.add_done_callback(lambda _: second.cancel())  # In the moment in which the second gets the place.
        await asyncio.wait([first, second, third])

    assert second.cancelled()
    assert third.result().grant.command == "/bin/true"


class Clock:
    def __init__(self) -> None:
        self.now_s = 50.0

    def __call__(self) -> float:
        return self.now_s


@asynccontextmanager
async def timed(url: str, timeout_s: float = 5.0, **section: Any) -> AsyncIterator[tuple[Any, Clock]]:
    clock = Clock()
    controller = Controller(ControllerSettings(url, timeout_s, **section), is_refused, clock)
    try:
        yield lambda: controller.ask(Credentials("t0ken"), REQUEST), clock
    finally:
        await controller.close()


async def test_after_so_many_failures_nobody_is_asked_for_a_while(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ws_subprocess.auth.controller")
    async with timed(NOWHERE, 0.04) as (ask, clock):
        failures = [await fail(ask()) for _ in range(FAILURES_MAX)]
        clock.now_s += 1.5
        error = await fail(ask())
        await fail(ask())

    assert {failure.reason for failure in failures} == {"controller_unreachable"}
    assert (error.code, error.reason) == ("controller_unreachable", "breaker_open")
    assert error.retry_after_s == math.ceil(REST_S - 1.5)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.WARNING, "controller does not answer, so it is asked now and then only")
    ]


async def test_timeouts_count_and_one_question_after_the_rest_decides(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ws_subprocess.auth.controller")
    async with holding() as (server, released), timed(server.url, 0.15) as (ask, clock):
        await asyncio.gather(*(fail(ask()) for _ in range(FAILURES_MAX)))
        assert len(server.requests) == FAILURES_MAX
        clock.now_s += REST_S

        questions = [asyncio.ensure_future(ask()) for _ in range(20)]
        await until(lambda: len(server.requests) == FAILURES_MAX + 1, "the question that decides")
        others = [await fail(question) for question in questions[1:]]
        released.set()
        assert (await questions[0]).grant.command == "/bin/true"
        await ask()

    assert {error.reason for error in others} == {"breaker_open"}
    assert all(error.retry_after_s for error in others)
    assert len(server.requests) == FAILURES_MAX + 2
    assert [record.levelno for record in caplog.records] == [logging.WARNING, logging.INFO]


async def test_while_one_question_decides_nobody_queues_behind_it() -> None:
    async with holding() as (server, released), timed(server.url, 0.1, max_questions=1) as (ask, clock):
        for _ in range(FAILURES_MAX):
            await fail(ask())
        clock.now_s += REST_S
        deciding = asyncio.ensure_future(ask())
        await until(lambda: len(server.requests) > FAILURES_MAX, "the question that decides")

        error = await fail(ask())
        released.set()
        await deciding

    assert error.reason == "breaker_open"


async def test_a_client_that_leaves_does_not_keep_the_place_of_the_question_that_decides() -> None:
    async with holding() as (server, released), timed(server.url, 0.15) as (ask, clock):
        await asyncio.gather(*(fail(ask()) for _ in range(FAILURES_MAX)))
        clock.now_s += REST_S
        leaving = asyncio.ensure_future(ask())
        await until(lambda: len(server.requests) > FAILURES_MAX, "the question that decides")
        leaving.cancel()
        await asyncio.wait([leaving])
        released.set()

        assert (await ask()).grant.command == "/bin/true"


@pytest.mark.parametrize("answer", [respond("", "403 No"), respond("", "503 Busy"), b"garbage\r\n\r\n"])
async def test_whoever_answers_at_all_is_asked_on(answer: bytes) -> None:
    async with scripted(answer) as server, timed(server.url) as (ask, _):
        for _ in range(3 * FAILURES_MAX):
            await fail(ask())

    assert len(server.requests) == 3 * FAILURES_MAX


async def test_those_who_wait_when_it_turns_out_that_nobody_answers_are_told_at_once() -> None:
    async with timed(NOWHERE, max_questions=FAILURES_MAX) as (ask, _):
        errors = await asyncio.gather(*(fail(ask()) for _ in range(4 * FAILURES_MAX)))

    reasons = [error.reason for error in errors]
    # Before the last of the failures that open it, the places of the others may have been taken again.
    assert FAILURES_MAX <= reasons.count("controller_unreachable") < 2 * FAILURES_MAX
    assert set(reasons) == {"controller_unreachable", "breaker_open"}


class CountingLoop(asyncio.SelectorEventLoop):
    """Counts attempts to connect: a server that is not there cannot."""

    def __init__(self) -> None:
        super().__init__()
        self.connects = 0

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        self.connects += 1
        await super().sock_connect(sock, address)


def test_a_stampede_against_a_dead_controller_costs_a_bounded_number_of_connections() -> None:
    async def storm() -> list[GateError]:
        async with timed(NOWHERE, max_questions=64) as (ask, _):
            first = await asyncio.gather(*(fail(ask()) for _ in range(200)))
            return [*first, *(await asyncio.gather(*(fail(ask()) for _ in range(200))))]

    with asyncio.Runner(loop_factory=CountingLoop) as runner:
        errors = runner.run(storm())
        loop = runner.get_loop()
        assert isinstance(loop, CountingLoop)

    reasons = [error.reason for error in errors]
    asked_max = 64 + FAILURES_MAX - 1
    assert FAILURES_MAX <= reasons.count("controller_unreachable") <= asked_max
    assert set(reasons) == {"controller_unreachable", "breaker_open"}
    assert FAILURES_MAX <= loop.connects <= asked_max * (1 + len(RETRY_PAUSES_S))
