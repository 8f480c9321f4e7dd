"""The one-command variant: no login, one button."""

import os
import shutil

import pytest

from example_controller.programs import CommandMissingError, single_command


async def test_the_start_page_has_one_button_for_the_command(serve_site):
    site = await serve_site(only_program=single_command(["/bin/sh", "-c", "echo <b>"]))

    async with site.browser() as browser:
        page = await browser.get("/")

    assert site.program_ids(page.text) == ["command"]
    assert "/bin/sh -c &#x27;echo &lt;b&gt;&#x27;" in page.text
    assert "Log out" not in page.text


async def test_the_button_leads_to_a_grant_for_exactly_this_command_here(serve_site):
    site = await serve_site(only_program=single_command(["sh", "-c", "exit 3"]))

    async with site.browser() as browser:
        terminal = site.terminal_attributes((await browser.post("/programs/command")).text)
        again = (await browser.post(terminal["token-url"])).json()["token"]

    expected = {"command": shutil.which("sh"), "args": ["-c", "exit 3"], "cwd": os.getcwd()}
    assert [(await site.ask(token)).json() for token in (terminal["token"], again)] == [expected, expected]


async def test_there_is_nothing_to_log_in_to(serve_site):
    site = await serve_site(only_program=single_command(["sh"]))

    async with site.browser() as browser:
        answers = [await browser.get("/login"), await browser.post("/login", data={"name": "operator"})]

    assert [answer.status_code for answer in answers] == [404, 404]


async def test_another_site_cannot_press_the_button(serve_site):
    site = await serve_site(only_program=single_command(["sh"]))

    async with site.browser() as browser:
        answer = await browser.post("/programs/command", headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403


def test_a_command_that_this_machine_does_not_have_is_named():
    with pytest.raises(CommandMissingError, match="no-such-tool: there is no such program on this machine"):
        single_command(["no-such-tool", "file"])
