"""Where jobs are remembered, with the real daemon: what keeps it from starting, and what it leaves alone."""

import os
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from cli_program import run_program, start_program

from ws_subprocess.store.database import FILE_NAME


@pytest.fixture
def args(tmp_path: Path) -> list[str]:
    """Return the command line of a daemon with a command to run as jobs, and with its state in `state`."""
    commands = tmp_path / "commands.toml"
    commands.write_text('[[command]]\nname = "date"\ncommand = "/bin/date"\n')
    return ["--listen", "127.0.0.1:0", "--commands-file", str(commands), "--state-dir", str(tmp_path / "state")]


async def test_a_daemon_with_jobs_makes_its_folder_and_starts_again(tmp_path: Path, args: list[str]) -> None:
    for _ in range(2):
        async with start_program(*args) as daemon:
            line = await daemon.read_line()
            ended = await daemon.end(signal.SIGTERM)

        assert line.startswith("ready ")
        assert ended.status == 0
    assert set(os.listdir(tmp_path / "state")) == {FILE_NAME, "jobs.ballast", "spool"}


def test_a_broken_database_keeps_the_daemon_from_starting_and_is_left_alone(tmp_path: Path, args: list[str]) -> None:
    (tmp_path / "state").mkdir()
    file = tmp_path / "state" / FILE_NAME
    file.write_bytes(b"x" * 5000)

    result = run_program(*args)

    assert (result.status, result.stdout) == (3, "")
    assert result.stderr.splitlines()[-1] == (
        f"ws-subprocess: state_dir: {file}: file is not a database; "
        "move it away (the jobs in it are lost then) or restore it [state_unusable]"
    )
    assert file.read_bytes() == b"x" * 5000


async def test_a_database_of_a_newer_daemon_keeps_it_from_starting(tmp_path: Path, args: list[str]) -> None:
    async with start_program(*args) as daemon:
        await daemon.read_line()
        await daemon.end(signal.SIGTERM)
    with closing(sqlite3.connect(tmp_path / "state" / FILE_NAME)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()

    result = run_program(*args)

    assert result.status == 3
    assert "of a newer ws-subprocess (version 9999)" in result.stderr


async def test_two_daemons_do_not_share_their_jobs(args: list[str]) -> None:
    async with start_program(*args) as daemon:
        await daemon.read_line()

        result = run_program(*args)

    assert result.status == 3
    assert "another daemon has its jobs there" in result.stderr


def test_a_database_whose_driver_is_missing_is_explained_without_its_password(args: list[str]) -> None:
    result = run_program(*args, "--database-url", "postgresql+nosuchdriver://user:s3cret@host/name")

    assert result.status == 3
    assert "install the driver" in result.stderr
    assert "s3cret" not in result.stderr
