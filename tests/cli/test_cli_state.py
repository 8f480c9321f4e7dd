"""Signed tokens and used ones, with the real daemon: what keeps it from starting, and what outlives it."""

import signal
from pathlib import Path

import pytest
from cli_program import run_program, start_program
from signing import AUDIENCE, SECRET, forge, good_claims
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

from ws_subprocess.store.used_tokens import FILE_NAME


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    """Return the command line of a daemon that believes signed tokens, and keeps used ones in `state`."""
    key = tmp_path / "key"
    key.write_bytes(SECRET)
    key.chmod(0o600)
    signed = ["--jwt-key", f"HS256:file:{key}", "--jwt-audience", AUDIENCE]
    return ["--listen", "127.0.0.1:0", *signed, "--state-dir", str(tmp_path / "state")]


def mint(tmp_path: Path) -> str:
    result = run_program(
        "token", "mint", "--key", str(tmp_path / "key"), "--audience", AUDIENCE, "--", "/bin/echo", "it runs"
    )
    assert result.status == 0
    return result.stdout.strip()


async def run_once(url: str, token: str) -> str:
    """Return the output of the command that the token starts; raise InvalidStatus when it is refused."""
    async with connect(f"ws{url.removeprefix('http')}/ws?token={token}", proxy=None) as connection:
        return "".join([message if isinstance(message, str) else message.decode() async for message in connection])


async def test_a_used_token_stays_used_when_the_daemon_is_killed(tmp_path: Path, args: list[str]) -> None:
    token = mint(tmp_path)
    async with start_program(*args) as daemon:
        output = await run_once((await daemon.read_line()).split()[1], token)
        await daemon.end(signal.SIGKILL)

    async with start_program(*args) as daemon:
        url = (await daemon.read_line()).split()[1]
        with pytest.raises(InvalidStatus) as caught:
            await run_once(url, token)
        again = await run_once(url, mint(tmp_path))

    assert "it runs" in output
    assert caught.value.response.status_code == 403
    assert "it runs" in again


async def test_nothing_is_kept_where_no_token_counts_once(tmp_path: Path) -> None:
    async with start_program("--listen", "127.0.0.1:0", "--state-dir", str(tmp_path / "state")) as daemon:
        await daemon.read_line()
        await daemon.end(signal.SIGTERM)

    assert not (tmp_path / "state").exists()


async def test_used_tokens_are_kept_where_systemd_says(tmp_path: Path, args: list[str]) -> None:
    async with start_program(*args[:-2], STATE_DIRECTORY=str(tmp_path / "given")) as daemon:
        await daemon.read_line()
        await daemon.end(signal.SIGTERM)

    assert (tmp_path / "given" / FILE_NAME).exists()


def test_a_broken_file_of_used_tokens_keeps_the_daemon_from_starting_and_is_left_alone(
    tmp_path: Path, args: list[str]
) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / FILE_NAME
    file.write_bytes(b"x" * 5000)

    result = run_program(*args)

    assert (result.status, result.stdout) == (3, "")
    assert result.stderr.splitlines()[-1] == (
        f"ws-subprocess: state_dir: {file}: file is not a database; "
        "move it away (tokens used before could be used again) or restore it [state_unusable]"
    )
    assert file.read_bytes() == b"x" * 5000


def test_a_state_dir_that_is_no_folder_keeps_the_daemon_from_starting(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "state").write_text("a file")

    result = run_program(*args)

    assert result.status == 3
    assert "File exists; name a folder that the daemon may write to [state_unusable]" in result.stderr


def test_a_short_key_keeps_the_daemon_from_starting(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "key").write_bytes(SECRET[:31] + b"\n")

    for command in (["serve", *args], ["config", "check", *args]):
        result = run_program(*command)

        assert (result.status, result.stdout) == (2, "")
        assert f"--jwt-key: jwt_keys = HS256:file:{tmp_path}/key: jwt key too short: 31 bytes" in result.stderr
        assert result.stderr.endswith("[bad_config]\n")
    assert not (tmp_path / "state").exists()


async def test_an_unsigned_token_starts_nothing(args: list[str]) -> None:
    async with start_program(*args) as daemon:
        url = (await daemon.read_line()).split()[1]
        for token in (forge(claims=good_claims()), "opaque", "eyJhbGciOiJub25lIn0.e30."):
            with pytest.raises(InvalidStatus) as caught:
                await run_once(url, token)
            assert caught.value.response.status_code == 403
