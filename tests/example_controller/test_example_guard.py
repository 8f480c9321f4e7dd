"""What every request must pass, and what every answer carries."""

import re

import pytest

PLAIN_POLICY = (
    "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Sec-Fetch-Site": "none"},
        {"Sec-Fetch-Site": "cross-site", "Origin": "OWN"},
        {"Origin": "http://127.0.0.1:8866"},
        {"Origin": "http://example.org"},
        {"Origin": "null"},
        {},
    ],
)
async def test_a_post_that_no_page_of_ours_made_is_refused(site, operator, headers):
    del operator.headers["Sec-Fetch-Site"]
    headers = {name: value.replace("OWN", site.url) for name, value in headers.items()}
    paths = ["/login", "/logout", "/programs/bash", "/programs/bash/token", "/nothing"]

    answers = [await operator.post(path, headers=headers) for path in paths]

    assert [answer.status_code for answer in answers] == [403] * len(paths)
    assert all("another site's page" in answer.text for answer in answers)
    assert (await operator.get("/")).status_code == 200


async def test_a_client_without_sec_fetch_site_shows_our_origin(site, operator):
    del operator.headers["Sec-Fetch-Site"]

    answer = await operator.post("/programs/bash/token", headers={"Origin": site.url})

    assert answer.status_code == 200


@pytest.mark.parametrize("host", ["rebound.example:8867", "127.0.0.1", "localhost:1", ""])
async def test_pages_answer_under_their_own_address_only(site, operator, host):
    answer = await operator.get("/", headers={"Host": host})

    assert answer.status_code == 421
    assert site.url in answer.text


async def test_every_answer_carries_the_guarding_headers(site):
    guarding = {
        "content-security-policy": PLAIN_POLICY,
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
        "cross-origin-opener-policy": "same-origin",
        "cache-control": "no-store",
    }
    async with site.browser() as browser:
        for path in ["/", "/login", "/nothing", "/assets/style.css", "/assets/nothing", "/ws-controller"]:
            headers = (await browser.get(path)).headers

            assert {name: headers[name] for name in guarding} == guarding, path


async def test_pages_need_nothing_that_their_policy_forbids(operator):
    for path in ["/", "/login", "/nothing"]:
        page = (await operator.get(path, follow_redirects=True)).text

        assert not re.search(r"<script|<style|style=|\son[a-z]+=", page)


async def test_an_unknown_address_is_an_error_in_words(site):
    async with site.browser() as browser:
        answer = await browser.get("/nothing")

    assert answer.status_code == 404
    assert "There is no such page here." in answer.text
