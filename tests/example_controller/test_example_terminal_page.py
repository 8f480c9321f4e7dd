"""The page with `<ws-terminal>`: what it embeds, and the policy that names exactly the daemon."""

import re

import pytest

from example_controller.guard import POLICY


@pytest.mark.parametrize("daemon", ["http://127.0.0.1:8866", "https://terminals.example.org/lab"])
async def test_the_page_embeds_the_daemons_element_with_a_token(serve_site, daemon):
    site = await serve_site(daemon=daemon)

    async with site.logged_in("operator") as browser:
        page = (await browser.post("/programs/bash")).text

    assert re.findall(r"<script[^>]*>", page) == [f'<script type="module" src="{daemon}/static/ws-terminal.js">']
    terminal = site.terminal_attributes(page)
    assert terminal["src"] == daemon
    assert terminal["token-url"] == "/programs/bash/token"
    assert (await site.ask(terminal["token"])).status_code == 200


@pytest.mark.parametrize(
    ("daemon", "origin", "websocket"),
    [
        ("http://127.0.0.1:8866", "http://127.0.0.1:8866", "ws://127.0.0.1:8866"),
        ("https://terminals.example.org/lab", "https://terminals.example.org", "wss://terminals.example.org"),
    ],
)
async def test_its_policy_adds_the_daemons_origin_and_nothing_else(serve_site, daemon, origin, websocket):
    site = await serve_site(daemon=daemon)

    async with site.logged_in("operator") as browser:
        policy = (await browser.post("/programs/bash")).headers["content-security-policy"]

    assert policy == f"{POLICY}; script-src {origin}; connect-src 'self' {origin} {websocket}"


async def test_only_the_terminals_page_may_load_scripts(operator):
    list_policy = (await operator.get("/")).headers["content-security-policy"]

    assert "script-src" not in list_policy
    assert "default-src 'none'" in list_policy
