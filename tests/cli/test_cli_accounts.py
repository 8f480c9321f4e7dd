"""The account that commands run as by default: checked before anything listens."""

import os

import pytest
from cli_program import run_program, start_program

from ws_subprocess.cli.accounts import check_account


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_an_account_that_can_be_taken_is_fine() -> None:
    assert check_account("nobody", "") == []
    assert check_account("nobody", "daemon") == []


def test_no_account_is_fine_too() -> None:
    assert check_account("", "") == []


@pytest.mark.parametrize(
    ("flags", "key"),
    [(("--user", "no-such-user"), "user"), (("--group", "no-such-group"), "group")],
)
def test_one_that_is_not_there_keeps_the_daemon_from_starting(flags: tuple[str, str], key: str) -> None:
    result = run_program("serve", "--listen", "127.0.0.1:0", *flags)

    assert result.status == 2
    assert "[bad_user]" in result.stderr
    assert f"{key} = {flags[1]}: no such" in result.stderr
    assert result.stdout == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give itself up")
def test_one_that_cannot_be_taken_keeps_the_daemon_from_starting() -> None:
    os.seteuid(65534)
    try:
        (problem,) = check_account("nobody", "")
    finally:
        os.seteuid(0)

    assert str(problem) == "user: user = nobody: only root can set it; this daemon has uid 65534 [bad_user]"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_root_is_not_warned_when_commands_run_as_somebody_else() -> None:
    async with start_program("--listen", "127.0.0.1:0", "--user", "nobody") as daemon:
        await daemon.read_line()
        result = await daemon.end(15)

    assert "running as root" not in result.stderr
