"""Every route and method of all HTTP doors: who is turned away before anything is read, asked, or run.

What there is comes from the description, which test_openapi.py holds to what the router has.
"""

from collections.abc import AsyncIterator, Iterable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from every_door import EveryDoor, Operation, list_operations, run_every_door
from http_daemon import BEARER, run_http_daemon
from observing import list_children, until

PROBLEM = {"Accept": "application/problem+json"}
FOREIGN_HOST, FOREIGN_ORIGIN = {"Host": "evil.example"}, {"Origin": "https://evil.example"}
STRANGER = {"Authorization": "Bearer nobody-knows-this-token"}

# Doors that need no token, and why.
PUBLIC = {
    "GET /": "the page: the same for everybody, and without a token of no use",
    "GET /docs": "the page: what the routes are, which their answers tell anyway",
    "GET /openapi.json": "the same for programs",
    "GET /static/{file}": "the pages' files: published with the package",
    "GET /healthz": "says that the process lives, which a connection tells anyway",
    "GET /readyz": "says whether it drains, which every start tells anyway",
    "GET /metrics": "figures without names or secrets; for whom, the setting `metrics` says",
    "OPTIONS /ws": "what a browser asks before it may send a header of its own; shares nothing with foreign pages",
}
# Needs a token, and says so in the terminal's own words; tests/doors/test_auth_matrix.py has its cases.
TERMINAL = "GET /ws"
# Whatever a call comes to is 200; the envelope says that it came to nothing.
CALLS = ("POST /rpc", "POST /rpc/1.0")


@pytest_asyncio.fixture
async def doors(server: str, tmp_path: Path) -> AsyncIterator[EveryDoor]:
    async with run_every_door(tmp_path, server, metrics="all") as running:
        del running.http.client.headers["Authorization"]
        yield running


def list_gated(doors: EveryDoor) -> list[Operation]:
    """Return what needs a token of the HTTP doors."""
    return [each for each in list_operations(doors.document) if not each.is_public and str(each) != TERMINAL]


async def ask_all(
    doors: EveryDoor, operations: Iterable[Operation], headers: dict[str, str]
) -> dict[str, httpx.Response]:
    """Send all requests, each complete but for what `headers` spoils."""
    return {str(each): await doors.ask(each, headers=PROBLEM | headers) for each in operations}


def has_begun_nothing(doors: EveryDoor) -> bool:
    [family] = doors.http.app.metrics.starts.collect()
    starts = sum(sample.value for sample in family.samples if sample.name.endswith("_total"))
    return not starts and not len(doors.http.app.registry) and not list_children()


async def has_no_jobs(doors: EveryDoor) -> bool:
    """Ask with the good token, for which nothing was started either."""
    answers = [
        await doors.http.client.get(path, headers=BEARER)
        for path in ("/payloads", "/commands/echo/jobs", "/commands/fixed/jobs")
    ]
    return [answer.json() for answer in answers] == [[], *[{"jobs": [], "after": None}] * 2]


def tell(answers: dict[str, httpx.Response]) -> dict[str, tuple[int, str]]:
    return {name: (answer.status_code, answer.json()["code"]) for name, answer in answers.items()}


async def test_what_is_public_is_named_here_with_its_reason(doors: EveryDoor) -> None:
    assert {str(each) for each in list_operations(doors.document) if each.is_public} == PUBLIC.keys()


@pytest.mark.parametrize(
    "credentials",
    [{}, {"Authorization": "Basic dXNlcjp0MGtlbg=="}, {"Sec-WebSocket-Protocol": "bearer.dDBrZW4"}],
    ids=["none", "another scheme", "a subprotocol"],
)
async def test_without_a_token_every_route_answers_401_asks_nobody_and_runs_nothing(
    doors: EveryDoor, credentials: dict[str, str]
) -> None:
    gated = list_gated(doors)

    answers = await ask_all(doors, gated, credentials)

    assert tell(answers) == {str(each): (401, "unauthorized") for each in gated}
    assert {answer.headers["www-authenticate"] for answer in answers.values()} == {"Bearer"}
    assert doors.http.questions == []
    assert has_begun_nothing(doors)
    assert await has_no_jobs(doors)


async def test_a_token_in_the_query_counts_nowhere(doors: EveryDoor) -> None:
    gated = list_gated(doors)

    answers = {}
    for each in gated:
        url = httpx.URL(each.target).copy_merge_params({"token": "t0ken"})
        answers[str(each)] = await doors.http.client.request(each.method, url, json=each.body, headers=PROBLEM)

    assert tell(answers) == {str(each): (401, "unauthorized") for each in gated}
    assert doors.http.questions == []
    assert has_begun_nothing(doors)


async def test_without_a_token_a_terminal_is_refused_in_its_own_words(doors: EveryDoor) -> None:
    [terminal] = [each for each in list_operations(doors.document) if str(each) == TERMINAL]

    assert tell(await ask_all(doors, [terminal], {})) == {TERMINAL: (400, "token_missing")}


@pytest.mark.parametrize(
    ("headers", "code"), [(FOREIGN_HOST, "host_denied"), (FOREIGN_ORIGIN, "origin_denied")], ids=["host", "origin"]
)
async def test_from_a_foreign_name_or_page_the_best_token_counts_nowhere(
    doors: EveryDoor, headers: dict[str, str], code: str
) -> None:
    # The preflight shares nothing; its own tests hold that.
    operations = [each for each in list_operations(doors.document) if each.method != "OPTIONS"]

    answers = await ask_all(doors, operations, BEARER | headers)

    assert tell(answers) == {str(each): (403, code) for each in operations}
    assert doors.http.questions == []
    assert has_begun_nothing(doors)
    assert await has_no_jobs(doors)


async def test_no_answer_may_be_read_by_a_foreign_page(doors: EveryDoor) -> None:
    answers = await ask_all(doors, list_operations(doors.document), BEARER | FOREIGN_ORIGIN)

    for name, answer in answers.items():
        assert not [header for header in answer.headers if header.startswith("access-control-")], name


async def test_a_token_that_nobody_knows_runs_nothing_anywhere(doors: EveryDoor) -> None:
    gated = list_gated(doors)

    answers = await ask_all(doors, gated, STRANGER)

    calls = {name: answers.pop(name) for name in CALLS}
    # To who may not see it, a payload that is there and one that is not look the same.
    assert tell(answers) == {name: (404, "job_unknown") if "{id}" in name else (403, "denied") for name in answers}
    assert {(answer.status_code, answer.json()["ok"]) for answer in calls.values()} == {(200, False)}
    assert has_begun_nothing(doors)
    assert await has_no_jobs(doors)


async def test_every_route_lets_the_good_token_in(doors: EveryDoor) -> None:
    """The requests that are refused above lack nothing else."""
    answers = await ask_all(doors, list_gated(doors), BEARER)

    assert {answer.status_code for answer in answers.values()} <= {200, 201, 202, 204, 404}
    assert doors.http.questions
    await until(lambda: not list_children(), "the commands' end")


async def test_while_draining_nothing_is_started_anywhere(doors: EveryDoor) -> None:
    doors.http.app.begin_drain()
    starts = [each for each in list_gated(doors) if each.body is not None]

    answers = await ask_all(doors, starts, BEARER)

    calls = {name: answers.pop(name) for name in CALLS}
    assert answers
    assert tell(answers) == dict.fromkeys(answers, (503, "draining"))
    assert {answer.json()["ok"] for answer in calls.values()} == {False}
    assert has_begun_nothing(doors)


async def test_a_listener_of_its_own_is_guarded_alike() -> None:
    async with run_http_daemon(process_listen=("127.0.0.1:0",)) as daemon:
        del daemon.client.headers["Authorization"]
        body = {"alias": "a", "cmd": "/bin/true"}
        url = f"{daemon.own_url}/process"
        sent = [{}, BEARER | FOREIGN_HOST, BEARER | FOREIGN_ORIGIN]
        answers = [await daemon.client.post(url, json=body, headers=PROBLEM | headers) for headers in sent]

        assert [answer.json()["code"] for answer in answers] == ["unauthorized", "host_denied", "origin_denied"]
        assert answers[0].headers["www-authenticate"] == "Bearer"
        for path in ("/", "/openapi.json", "/docs", "/ws", "/payloads"):
            assert (await daemon.client.get(daemon.own_url + path, headers=BEARER)).status_code == 501
        assert daemon.questions == []
