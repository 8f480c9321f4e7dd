"""Who is let in, who stays in, and what each sees."""

import shutil

import httpx
import pytest

from example_controller.database import SESSION_LIFETIME_S
from example_controller.programs import OPERATOR, VIEWER


@pytest.mark.parametrize("name", ["operator", "viewer"])
async def test_each_demo_user_sees_exactly_their_programs_that_this_machine_has(site, name):
    user = {user.name: user for user in (OPERATOR, VIEWER)}[name]
    installed = [program.id for program in user.programs if shutil.which(program.argv[0])]

    async with site.logged_in(name) as browser:
        page = await browser.get("/")

    assert page.status_code == 200
    assert site.program_ids(page.text) == installed
    assert installed


async def test_the_login_page_shows_the_passwords_of_the_demo_users(site):
    async with site.browser() as browser:
        page = (await browser.get("/login")).text

    for user in (OPERATOR, VIEWER):
        assert user.name in page
        assert user.password in page


@pytest.mark.parametrize(
    "form",
    [
        {"name": "operator", "password": "let-me-look"},
        {"name": "operator", "password": ""},
        {"name": "nobody", "password": "let-me-type"},
        {"name": "", "password": ""},
        {},
    ],
)
async def test_a_wrong_name_or_password_is_refused_in_the_same_words(site, form):
    async with site.browser() as browser:
        answer = await browser.post("/login", data=form)

    assert answer.status_code == 403
    assert "Name or password is wrong." in answer.text
    assert "set-cookie" not in answer.headers


async def test_a_name_that_is_markup_is_shown_as_text(site):
    async with site.browser() as browser:
        answer = await browser.post("/login", data={"name": '"><script>alert(1)</script>', "password": "x"})

    assert "<script" not in answer.text
    assert "&quot;&gt;&lt;script&gt;alert(1)&lt;/script&gt;" in answer.text


async def test_the_cookie_is_out_of_reach_of_scripts_and_of_other_sites(site):
    async with site.browser() as browser:
        answer = await browser.post("/login", data={"name": OPERATOR.name, "password": OPERATOR.password})

    attributes = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
    assert attributes == {"httponly", "samesite=strict", "path=/", f"max-age={SESSION_LIFETIME_S:.0f}"}


async def test_the_file_holds_no_secret_that_opens_anything(site, operator, tmp_path):
    page = await operator.post("/programs/bash")
    token = site.terminal_attributes(page.text)["token"]

    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    assert b"operator" in stored
    assert token.encode() not in stored
    assert operator.cookies["example_controller_session"].encode() not in stored
    assert OPERATOR.password.encode() not in stored


async def test_pages_without_a_login_lead_to_the_login_page(site):
    async with site.browser() as browser:
        answers = [await browser.get("/"), await browser.post("/programs/bash")]

    assert [(answer.status_code, answer.headers["location"]) for answer in answers] == [(303, "/login")] * 2


async def test_a_forged_cookie_is_no_login(site):
    async with site.browser() as browser:
        browser.cookies.set("example_controller_session", "A" * 43, domain="127.0.0.1")

        answer = await browser.get("/")

    assert answer.headers["location"] == "/login"


async def test_a_login_ends_after_its_lifetime_and_the_page_says_so(site, operator):
    site.clock.now_s += SESSION_LIFETIME_S

    answer = await operator.get("/", follow_redirects=True)

    assert answer.url.path == "/login"
    assert "Your login has ended. Log in again." in answer.text


async def test_logging_out_ends_the_login_even_for_a_copy_of_the_cookie(site, operator):
    copy = dict(operator.cookies)

    await operator.post("/logout")

    assert "example_controller_session" not in operator.cookies
    async with httpx.AsyncClient(base_url=site.url, cookies=copy, trust_env=False) as thief:
        assert (await thief.get("/")).headers["location"] == "/login"


async def test_a_form_that_is_too_long_is_refused(site):
    async with site.browser() as browser:
        answer = await browser.post("/login", data={"name": "x" * 5000})

    assert answer.status_code == 413
    assert "longer than 4096 bytes" in answer.text


@pytest.mark.parametrize("body", [b"name=\xff", "&".join(f"f{n}=1" for n in range(9)).encode()])
async def test_a_form_that_cannot_be_read_is_refused(site, body):
    async with site.browser() as browser:
        answer = await browser.post("/login", content=body)

    assert answer.status_code == 400
    assert "cannot be read" in answer.text
