"""A token lets one program run once, soon, and only for the daemon on this machine."""

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import httpx
import pytest

from example_controller.app import create_app
from example_controller.database import TOKEN_LIFETIME_S, Database
from example_controller.programs import OPERATOR, VIEWER, single_command


async def new_token(site, browser, program="top"):
    page = await browser.post(f"/programs/{program}")
    assert page.status_code == 200
    return site.terminal_attributes(page.text)["token"]


async def test_a_click_leads_to_the_grant_of_that_program(site, operator):
    (bash,) = (program for program in OPERATOR.programs if program.id == "bash")

    answer = await site.ask(await new_token(site, operator, "bash"))

    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {**bash.grant(), "principal": "operator"}
    assert answer.json()["command"].startswith("/")


async def test_what_the_viewer_may_only_watch_takes_no_input(site, viewer):
    answer = await site.ask(await new_token(site, viewer, "top"))

    assert answer.json()["read_only"] is True


async def test_a_second_question_is_refused(site, operator):
    token = await new_token(site, operator)

    answers = [await site.ask(token), await site.ask(token)]

    assert [answer.status_code for answer in answers] == [200, 403]


async def test_of_fifty_questions_at_the_same_time_exactly_one_is_granted(site, operator):
    token = await new_token(site, operator)

    answers = await asyncio.gather(*(site.ask(token) for _ in range(50)))

    assert sorted(answer.status_code for answer in answers) == [200] + [403] * 49


def test_of_eight_processes_worth_of_connections_exactly_one_gets_the_grant(tmp_path):
    databases = [Database(str(tmp_path / "shared.sqlite3")) for _ in range(8)]
    token = databases[0].write_token({"command": "/bin/true"})
    start = Barrier(8)

    def use(database):
        start.wait(timeout=10)
        return database.use_token(token)

    with ThreadPoolExecutor(8) as threads:
        grants = list(threads.map(use, databases))

    for database in databases:
        database.close()
    assert [json.loads(grant) for grant in grants if grant is not None] == [{"command": "/bin/true"}]


async def test_a_token_is_good_until_its_last_moment(site, operator):
    token = await new_token(site, operator)
    site.clock.now_s += TOKEN_LIFETIME_S - 0.001

    assert (await site.ask(token)).status_code == 200


async def test_a_token_expires(site, operator):
    token = await new_token(site, operator)
    site.clock.now_s += TOKEN_LIFETIME_S

    assert (await site.ask(token)).status_code == 403


async def test_expired_tokens_are_removed_when_the_next_is_written(site, operator, tmp_path):
    old = await new_token(site, operator)
    site.clock.now_s += TOKEN_LIFETIME_S
    await new_token(site, operator)
    site.clock.now_s -= TOKEN_LIFETIME_S

    assert (await site.ask(old)).status_code == 403


@pytest.mark.parametrize("query", ["", "?token=", "?token=forged", "?token=%00%ff", "?other=x", "?token=" + "A" * 9000])
async def test_an_unknown_or_missing_token_is_refused_without_a_reason(site, query):
    async with httpx.AsyncClient(trust_env=False) as daemon:
        answer = await daemon.get(f"{site.url}/ws-controller{query}")

    assert (answer.status_code, answer.text) == (403, "Invalid token\n")


async def test_a_changed_token_is_refused_and_the_right_one_stays_good(site, operator):
    token = await new_token(site, operator)
    changed = token[:-1] + ("A" if token[-1] != "A" else "B")

    assert (await site.ask(changed)).status_code == 403
    assert (await site.ask(token)).status_code == 200


async def test_two_tokens_in_one_question_are_refused_and_not_used(site, operator):
    token = await new_token(site, operator)

    async with httpx.AsyncClient(trust_env=False) as daemon:
        answer = await daemon.get(f"{site.url}/ws-controller?token={token}&token=x")

    assert answer.status_code == 403
    assert (await site.ask(token)).status_code == 200


async def test_another_machine_cannot_use_a_token_up(site, operator):
    token = await new_token(site, operator)
    app = create_app(site.database, site.url, "http://127.0.0.1:8866")

    async with httpx.AsyncClient(transport=httpx.ASGITransport(app, client=("192.0.2.7", 50000))) as stranger:
        answer = await stranger.get(f"{site.url}/ws-controller", params={"token": token})

    assert answer.status_code == 403
    assert (await site.ask(token)).status_code == 200


async def test_a_visitor_cannot_start_what_only_another_may_run(site, viewer):
    page = await viewer.post("/programs/bash")
    token = await viewer.post("/programs/bash/token")

    assert [page.status_code, token.status_code] == [404, 404]
    assert "not on your list" in page.text


async def test_start_again_gets_a_new_token_for_the_same_program(site, viewer):
    page = await viewer.post("/programs/top")
    terminal = site.terminal_attributes(page.text)

    answer = await viewer.post(terminal["token-url"])

    assert answer.status_code == 200
    assert answer.json().keys() == {"token"}
    assert answer.json()["token"] != terminal["token"]
    (top,) = (program for program in VIEWER.programs if program.id == "top")
    assert (await site.ask(answer.json()["token"])).json() == {**top.grant(), "principal": "viewer"}


async def test_start_again_without_a_login_is_refused_in_words_that_a_script_can_read(site):
    async with site.browser() as browser:
        answer = await browser.post("/programs/top/token", headers={"Accept": "application/json"})

    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json() == {"title": "Your login has ended. Log in again.", "status": 401}


async def test_a_get_never_writes_a_token(site, operator):
    answer = await operator.get("/programs/bash")

    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_a_program_that_was_removed_from_the_machine_is_gone(serve_site, tmp_path):
    command = tmp_path / "tool"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    site = await serve_site(only_program=single_command([str(command)]))
    command.unlink()

    async with site.browser() as browser:
        answer = await browser.post("/programs/command")

    assert answer.status_code == 404
    assert "tool is not on this machine any more." in answer.text
