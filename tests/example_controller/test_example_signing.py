"""Answers that the example controller signs, if it is told to, are those that the daemon believes."""

import json
from pathlib import Path

import pytest

from example_controller.__main__ import main
from example_controller.signing import HEADER, KeyFileError, read_key, sign
from ws_subprocess.auth.controller import Controller, ControllerSettings
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest
from ws_subprocess.process.environ import is_refused

KEY = b"0123456789abcdef0123456789abcdef"
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "controller_signature.json").read_text("utf-8"))
REQUEST = LaunchRequest("terminal", "127.0.0.1")


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_it_signs_as_the_published_examples_say(vector):
    key, asked, answer = (vector[name].encode() for name in ("key", "asked", "answer"))

    assert sign(key, vector["method"], asked, answer) == vector["signature"]


async def new_token(site):
    async with site.logged_in("operator") as browser:
        return (await browser.post("/programs/top/token")).json()["token"]


async def ask_with(key, site):
    daemon = Controller(ControllerSettings(f"{site.url}/ws-controller", hmac_key=key), is_refused)
    try:
        return await daemon.ask(Credentials(await new_token(site)), REQUEST)
    finally:
        await daemon.close()


async def test_the_daemon_believes_it(serve_site):
    parsed = await ask_with(KEY, await serve_site(key=KEY))

    assert parsed.grant.command.startswith("/")


async def test_the_daemon_believes_nobody_with_another_key(serve_site):
    with pytest.raises(GateError) as caught:
        await ask_with(b"x" * 32, await serve_site(key=KEY))

    assert caught.value.code == "controller_bad_signature"


async def test_without_a_key_it_signs_nothing(site):
    answer = await site.ask(await new_token(site))

    assert answer.status_code == 200
    assert HEADER not in answer.headers


def test_a_key_is_read_without_its_newline(tmp_path):
    (tmp_path / "key").write_bytes(KEY + b"\n")

    assert read_key(tmp_path / "key") == KEY


def test_random_bytes_are_the_key_to_the_last_one(tmp_path):
    (tmp_path / "key").write_bytes(b"\xff" * 32 + b"\n")

    assert read_key(tmp_path / "key") == b"\xff" * 32 + b"\n"


@pytest.mark.parametrize("content", [None, b"", b"short\n"])
def test_a_key_that_is_none_is_named_with_the_way_out(tmp_path, capsys, content):
    path = tmp_path / "key"
    if content is not None:
        path.write_bytes(content)

    with pytest.raises(KeyFileError, match="openssl rand"):
        read_key(path)
    with pytest.raises(SystemExit):
        main(["--listen", "127.0.0.1:0", "--database", str(tmp_path / "db"), "--sign-with", str(path)])
    assert str(path) in capsys.readouterr().err
