"""`token hash`, through the real program: what it prints is an entry that the daemon takes, and no token leaks."""

import json
import os
import pty
import signal
import subprocess
import tomllib
from pathlib import Path

import pytest
from cli_program import DEADLINE_S, PROGRAM, Result, clean_environ, run_program, start_program
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ws_subprocess.auth.tokens_file import read_tokens
from ws_subprocess.model import Credentials
from ws_subprocess.process.environ import is_refused

TOKEN = "correct-horse-battery-staple-0123456789"


def run_with_input(content: bytes, *args: str) -> Result:
    done = subprocess.run(
        [*PROGRAM, "token", "hash", *args],
        env=clean_environ(),
        input=content,
        capture_output=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def read_entry(tmp_path: Path, text: str) -> tuple[bytes, str]:
    """Return digest and name of the one entry in `text`, read as the daemon reads it."""
    path = tmp_path / "tokens.toml"
    path.write_text(text)
    path.chmod(0o644)
    reading = read_tokens(str(path), is_refused)
    assert reading.problems == ()
    ((digest, token),) = reading.tokens.items()
    return digest, token.name


def test_a_new_token_is_alone_on_stdout_and_its_entry_can_be_pasted(tmp_path: Path) -> None:
    result = run_program("token", "hash", "--new", "--name", 'x"ü')

    (token,) = result.stdout.splitlines()
    assert result.status == 0
    assert len(token) == 43
    assert token not in result.stderr
    assert read_entry(tmp_path, result.stderr) == (Credentials(token).token_hash, 'x"ü')


async def test_a_new_token_opens_the_terminal_of_a_daemon_that_has_its_entry(tmp_path: Path) -> None:
    made = run_program("token", "hash", "--new", "--name", "ci")
    path = tmp_path / "tokens.toml"
    path.write_text(made.stderr.replace("/usr/bin/top", "/bin/echo") + 'args = ["hello"]\n')
    path.chmod(0o644)
    token, output = made.stdout.strip(), b""

    async with start_program("serve", "--listen", "127.0.0.1:0", "--tokens-file", str(path)) as daemon:
        url = (await daemon.read_line()).removeprefix("ready ").replace("http", "ws", 1) + "/ws"
        for _ in range(2):  # It may be used any number of times.
            async with connect(f"{url}?token={token}", proxy=None) as websocket:
                async for message in websocket:
                    output += message if isinstance(message, bytes) else message.encode()
        with pytest.raises(InvalidStatus) as refused:
            await connect(f"{url}?token={token}x", proxy=None)
        ended = await daemon.end(signal.SIGTERM)

    lines = [json.loads(line) for line in ended.stderr.splitlines()]
    decisions = [(line["decision"], line["reason"], line["principal"]) for line in lines if "decision" in line]
    assert output == b"hello\r\n" * 2
    assert refused.value.response.status_code == 403
    assert decisions == [("granted", "", "ci"), ("granted", "", "ci"), ("refused", "token_unknown", "")]
    assert token not in ended.stderr


def test_serve_does_not_start_with_a_broken_file_of_tokens(tmp_path: Path) -> None:
    path = tmp_path / "tokens.toml"
    path.write_text('[[token]]\nname = "ci"\n')
    path.chmod(0o644)

    result = run_program("serve", "--listen", "127.0.0.1:0", "--tokens-file", str(path))

    problems = [line for line in result.stderr.splitlines() if line.startswith("ws-subprocess: ")]
    assert (result.status, result.stdout) == (2, "")
    assert [line.split(": ")[3] for line in problems] == ["hash", "doors", "command"]
    assert all(
        line.startswith(f"ws-subprocess: {path}: token 1 ('ci'): ") and line.endswith(" [bad_config]")
        for line in problems
    )


def test_each_new_token_is_another() -> None:
    assert run_program("token", "hash", "--new").stdout != run_program("token", "hash", "--new").stdout


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_the_entry_of_a_given_token_is_on_stdout(tmp_path: Path, end: bytes) -> None:
    result = run_with_input(TOKEN.encode() + end, "--name", "ci")

    assert (result.status, result.stderr) == (0, "")
    assert TOKEN not in result.stdout
    assert read_entry(tmp_path, result.stdout) == (Credentials(TOKEN).token_hash, "ci")


def test_on_a_terminal_the_token_is_typed_unseen() -> None:
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*PROGRAM, "token", "hash"], env=clean_environ(), stdin=slave, stdout=subprocess.PIPE, stderr=slave,
        start_new_session=True,
    )  # fmt: skip
    try:
        shown = b""
        while b"Token: " not in shown:
            shown += os.read(master, 1000)
        os.write(master, TOKEN.encode() + b"\n")
        stdout, _ = process.communicate(timeout=DEADLINE_S)
        os.set_blocking(master, False)
        shown += os.read(master, 1000)
    finally:
        os.close(master)
        os.close(slave)

    assert process.returncode == 0
    assert TOKEN.encode() not in shown
    assert tomllib.loads(stdout.decode())["token"][0]["hash"] == f"sha256:{Credentials(TOKEN).token_hash.hex()}"


@pytest.mark.parametrize(
    "args",
    [[TOKEN], ["--", TOKEN], [f"-{TOKEN}"], [f"--{TOKEN}"], [f"--token={TOKEN}"], ["--new", TOKEN], ["x", TOKEN]],
)
def test_a_token_on_the_command_line_is_refused_and_not_repeated(args: list[str]) -> None:
    result = run_program("token", "hash", *args)

    assert (result.status, result.stdout) == (2, "")
    assert "[secret_in_argv]" in result.stderr
    assert TOKEN not in result.stderr


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "0 characters, at least 32"),
        (TOKEN[:31].encode(), "31 characters, at least 32"),
        (TOKEN.encode() + b"\n" + TOKEN.encode(), "not one line of printable UTF-8"),
        (b"correct horse battery staple 0123456789", "not one line of printable UTF-8"),
        (b"\xff" * 40, "not one line of printable UTF-8"),
        (b"x" * 8193, "longer than 8192 bytes"),
        ("ü".encode() * 4097, "longer than 8192 bytes"),
        (b"x" * 100_000, "longer than 8192 bytes"),
    ],
)
def test_what_is_no_good_as_a_token_is_refused_and_not_repeated(content: bytes, problem: str) -> None:
    result = run_with_input(content)

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith(f"ws-subprocess: stdin: {problem}")
    assert TOKEN[:20] not in result.stderr


@pytest.mark.parametrize("name", ["", "x" * 65, "a\nb"])
def test_a_name_that_the_file_would_not_take_is_refused(name: str) -> None:
    result = run_program("token", "hash", "--new", "--name", name)

    assert (result.status, result.stdout) == (2, "")
    assert result.stderr.startswith("ws-subprocess: --name: not 1 to 64 printable characters")


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
def test_help_is_found_and_a_token_that_looks_like_it_is_none(flag: str) -> None:
    assert "Usage: ws-subprocess token hash" in run_program("token", "hash", flag).stdout
