"""`run`: one command in a browser tab, by a token that is printed, and the exit status that a shell would give."""

import asyncio
import json
import os
import re
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_program import Daemon, get_status, run_program, start_program
from observing import until
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus


@dataclass(frozen=True)
class Page:
    """What the printed address says."""

    url: str
    token: str

    @property
    def socket_url(self) -> str:
        return f"{self.url.replace('http', 'ws', 1)}/ws?token={self.token}"


@asynccontextmanager
async def start_run(*args: str, **keywords: Any) -> AsyncIterator[tuple[Daemon, Page]]:
    async with start_program("run", *args, **keywords) as daemon:
        url, token = (await daemon.read_line()).split("/#token=")
        yield daemon, Page(url, token)


def open_terminal(page: Page) -> connect:
    return connect(page.socket_url, subprotocols=["ws-subprocess.v1"])


async def read_hello(terminal: ClientConnection) -> dict[str, Any]:
    return json.loads(await terminal.recv())


async def read_output(terminal: ClientConnection) -> bytes:
    """Return all output until the server closes."""
    return b"".join([message async for message in terminal if isinstance(message, bytes)])


async def read_until(terminal: ClientConnection, expected: bytes) -> bytes:
    output = b""
    async with asyncio.timeout(10):
        while expected not in output:
            message = await terminal.recv()
            output += message if isinstance(message, bytes) else b""
    return output


async def test_the_printed_address_is_on_loopback_and_shows_the_page() -> None:
    async with start_run("--", "cat") as (_, page):
        assert re.fullmatch(r"http://127\.0\.0\.1:[1-9]\d*", page.url)
        assert await get_status(f"{page.url}/") == 200


async def test_the_token_is_256_random_bits() -> None:
    async with start_run("cat") as (_, one), start_run("cat") as (_, other):
        assert re.fullmatch(r"[\w-]{43}", one.token)
        assert one.token != other.token


async def test_the_command_runs_with_its_arguments_as_they_are() -> None:
    async with start_run("printf", "%s.", "-listen", "a b", "--once") as (_, page), open_terminal(page) as terminal:
        assert await read_output(terminal) == b"-listen.a b.--once."


async def test_another_token_starts_nothing() -> None:
    async with start_run("cat") as (_, page):
        with pytest.raises(InvalidStatus) as caught:
            await open_terminal(Page(page.url, "x" * 43))

    assert caught.value.response.status_code == 403


async def test_a_client_may_only_look() -> None:
    async with start_run("--", "sh", "-c", "read line; echo got $line") as (_, page), open_terminal(page) as terminal:
        hello = await read_hello(terminal)
        await terminal.send(b"typed\r")
        answer = await terminal.recv()

    assert hello["role"] == "viewer"
    assert json.loads(answer)["code"] == "read_only"


async def test_a_client_may_type_when_it_is_writable() -> None:
    command = ("sh", "-c", "read line; echo got $line")
    async with start_run("--writable", "--", *command) as (_, page), open_terminal(page) as terminal:
        await terminal.send(b"typed\r")

        assert b"got typed\r\n" in await read_output(terminal)


@pytest.mark.parametrize(("script", "status"), [("exit 0", 0), ("exit 3", 3), ("kill -TERM $$", 128 + 15)])
async def test_once_ends_with_the_status_that_a_shell_would_give(script: str, status: int) -> None:
    async with start_run("--once", "--", "sh", "-c", script) as (daemon, page):
        async with open_terminal(page) as terminal:
            await read_output(terminal)

        assert (await daemon.end()).status == status


async def test_once_still_sends_everything_and_closes_in_order() -> None:
    async with start_run("--once", "--", "sh", "-c", "seq 1 20000; exit 4") as (daemon, page):
        async with open_terminal(page) as terminal:
            output = await read_output_with_acks(terminal)
        result = await daemon.end()

    assert output == b"".join(b"%d\r\n" % number for number in range(1, 20001))
    assert terminal.close_code == 1000
    assert result.status == 4


async def read_output_with_acks(terminal: ClientConnection) -> bytes:
    output = bytearray()
    async for message in terminal:
        if isinstance(message, bytes):
            output += message
            # The daemon may have said good-bye by now, behind what is still to be read here.
            with suppress(ConnectionClosed):
                await terminal.send(json.dumps({"type": "ack", "offset": len(output)}))
    return bytes(output)


async def test_without_once_it_goes_on() -> None:
    async with start_run("echo", "hi") as (_, page):
        for _ in range(2):
            async with open_terminal(page) as terminal:
                assert await read_output(terminal) == b"hi\r\n"


@pytest.mark.parametrize("flags", [["--max-clients", "1"], ["--once"]])
async def test_a_client_too_many_is_refused(flags: list[str]) -> None:
    async with start_run(*flags, "cat") as (_, page), open_terminal(page) as terminal:
        await read_hello(terminal)
        with pytest.raises(InvalidStatus) as caught:
            await open_terminal(page)

    assert caught.value.response.status_code == 503


async def test_the_command_runs_in_the_directory_that_was_named(tmp_path: Path) -> None:
    script = tmp_path / "here.sh"
    script.write_text("#!/bin/sh\npwd\n")
    script.chmod(0o755)

    async with start_run("--cwd", str(tmp_path), "./here.sh") as (_, page), open_terminal(page) as terminal:
        assert await read_output(terminal) == f"{tmp_path}\r\n".encode()


@pytest.mark.parametrize(("flags", "title"), [([], "cat"), (["--title", "My cat"], "My cat")])
async def test_the_title_is_the_command_or_what_was_given(flags: list[str], title: str) -> None:
    async with start_run(*flags, "cat") as (_, page), open_terminal(page) as terminal:
        assert (await read_hello(terminal))["title"] == title


async def test_the_address_is_below_the_base_path() -> None:
    async with start_run("--base-path", "/tools/cat", "cat") as (_, page), open_terminal(page):
        assert page.url.endswith("/tools/cat")
        assert await get_status(f"{page.url}/") == 200


async def test_neither_environment_nor_file_changes_what_is_shared() -> None:
    variables = {"WS_SUBPROCESS_BASE_PATH": "/elsewhere", "WS_SUBPROCESS_CONFIG": "/nowhere"}

    async with start_run("cat", **variables) as (_, page):
        assert not page.url.endswith("/elsewhere")


async def test_interrupt_ends_it_and_its_command() -> None:
    command = ("sh", "-c", "echo $$; exec sleep 1000")
    async with start_run("--", *command) as (daemon, page), open_terminal(page) as terminal:
        pid = (await read_until(terminal, b"\n")).decode().strip()
        result = await daemon.end(signal.SIGINT)

    assert result.status == 0
    assert pid not in os.listdir("/proc")


async def test_the_command_gets_the_limit_of_open_files_that_run_was_started_with() -> None:
    limit = ("prlimit", "--nofile=300:8192")
    async with (
        start_run("--max-clients", "100", "--", "sh", "-c", "ulimit -n", prefix=limit) as (_, page),
        open_terminal(page) as terminal,
    ):
        assert await read_output(terminal) == b"300\r\n"


async def test_a_low_hard_limit_lowers_how_many_clients_there_may_be() -> None:
    async with start_run("cat", prefix=("prlimit", "--nofile=256:256")) as (_, page):
        assert await get_status(f"{page.url}/readyz") == 200


async def test_open_starts_a_browser_without_the_token_on_its_command_line(tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    browser = tmp_path / "browser"
    browser.write_text(f'#!/bin/sh\n(echo "$@"; cat "${{1#file://}}") >{seen}.new; mv {seen}.new {seen}\n')
    browser.chmod(0o755)

    async with start_run("--open", "cat", BROWSER=str(browser)) as (_, page):
        await until(seen.exists, "the browser's call")

    arguments, *content = seen.read_text().splitlines()
    assert page.token not in arguments
    assert f'href="{page.url}/#token={page.token}"' in content[0]


def test_a_command_that_does_not_exist_is_status_127() -> None:
    result = run_program("run", "--", "no-such-command")

    assert (result.status, result.stdout) == (127, "")
    assert result.stderr == (
        "ws-subprocess: 'no-such-command': command not found; name a program in PATH or give its path\n"
    )


@pytest.mark.parametrize("name", ["./plain", "./folder", "plain"])
def test_a_command_that_cannot_be_executed_is_status_126(name: str, tmp_path: Path) -> None:
    (tmp_path / "plain").touch(mode=0o644)
    (tmp_path / "folder").mkdir()

    result = run_program("run", "--cwd", str(tmp_path), "--", name, PATH=str(tmp_path))

    assert (result.status, result.stdout) == (126, "")
    assert f"{tmp_path}/{name.removeprefix('./')}: not an executable file" in result.stderr


def test_a_command_is_required() -> None:
    result = run_program("run", "--once")

    assert result.status == 2
    assert "COMMAND" in result.stderr


@pytest.mark.parametrize(
    ("flag", "value"), [("--title", "a\nb"), ("--title", "x" * 257), ("--cwd", "/nowhere"), ("--max-clients", "0")]
)
def test_a_wrong_flag_of_run_is_refused(flag: str, value: str) -> None:
    result = run_program("run", flag, value, "cat")

    assert result.status == 2
    assert f"'{flag}'" in result.stderr


def test_a_wrong_setting_of_run_is_refused() -> None:
    result = run_program("run", "--listen", "nowhere", "cat")

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith("ws-subprocess: --listen: listen = ")


def test_a_setting_that_does_not_concern_run_is_no_flag_of_it() -> None:
    result = run_program("run", "--controller-url", "http://a/", "cat")

    assert result.status == 2
    assert "No such option" in result.stderr


def test_run_listens_beyond_this_machine_only_when_told_to() -> None:
    result = run_program("run", "--listen", "0.0.0.0:0", "cat")

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.endswith("or say insecure_listen [insecure_listen]\n")
