"""The description's word about who may ask, on both servers; that the description is whole, test_openapi.py makes sure.

What each kind of credential meets at each door, and what it uses up, has tests/doors.
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
TERMINAL = "GET /ws"


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


async def test_what_the_description_calls_public_needs_no_token_and_all_the_rest_does(doors: EveryDoor) -> None:
    answers = await ask_all(doors, list_operations(doors.document), {})

    public = {str(each) for each in list_operations(doors.document) if each.is_public}
    assert {name for name, answer in answers.items() if answer.status_code < 300} == public
    refused = {name: answer for name, answer in answers.items() if name not in public}
    # A terminal says it in its own words.
    assert tell({TERMINAL: refused.pop(TERMINAL)}) == {TERMINAL: (400, "token_missing")}
    assert tell(refused) == dict.fromkeys(refused, (401, "unauthorized"))
    assert {answer.headers["www-authenticate"] for answer in refused.values()} == {"Bearer"}
    assert doors.http.questions == []
    assert has_begun_nothing(doors)
    assert await has_no_jobs(doors)


async def test_what_needs_a_token_is_satisfied_with_a_good_one(doors: EveryDoor) -> None:
    """The requests that are refused here lack nothing else."""
    answers = await ask_all(doors, list_gated(doors), BEARER)

    assert {answer.status_code for answer in answers.values()} <= {200, 201, 202, 204, 404}
    assert doors.http.questions
    await until(lambda: not list_children(), "the commands' end")


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
