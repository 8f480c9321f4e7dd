"""`serve`: how it says that it is ready, how it stops, and what keeps it from starting."""

import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest
from cli_program import get_status, get_unix_status, run_program, start_program


def log_lines(stderr: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in stderr.splitlines()]


@pytest.mark.parametrize("args", [["serve", "--listen", "127.0.0.1:0"], ["-listen", "127.0.0.1:0"]])
async def test_the_ready_line_has_the_address_that_answers(args: list[str]) -> None:
    async with start_program(*args) as daemon:
        word, url = (await daemon.read_line()).split()

        assert word == "ready"
        assert await get_status(f"{url}/healthz") == 200


async def test_ready_is_said_once_and_nothing_else_on_stdout() -> None:
    async with start_program("--listen", "127.0.0.1:0") as daemon:
        await daemon.read_line()

        assert (await daemon.end(signal.SIGTERM)).stdout == ""


async def test_every_address_stands_on_the_ready_line(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    async with start_program("--listen", "127.0.0.1:0", "--listen", f"unix:{path}", "--base-path", "/a/b") as daemon:
        line = await daemon.read_line()

        assert re.fullmatch(rf"ready http://127\.0\.0\.1:\d+/a/b unix:{path}", line)
        assert await get_status(f"{line.split()[1]}/healthz") == 200


async def test_settings_come_from_file_and_environment_too(tmp_path: Path) -> None:
    config = tmp_path / "ws.toml"
    config.write_text('base_path = "/from-file"')

    async with start_program("--config", str(config), WS_SUBPROCESS_LISTEN="127.0.0.1:0") as daemon:
        assert (await daemon.read_line()).endswith("/from-file")


async def test_the_log_says_where_it_listens() -> None:
    async with start_program("--listen", "127.0.0.1:0") as daemon:
        url = (await daemon.read_line()).split()[1]
        result = await daemon.end(signal.SIGTERM)

    assert [line["addresses"] for line in log_lines(result.stderr) if line["message"] == "listening"] == [url]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_an_idle_daemon_with_status_0(number: int) -> None:
    async with start_program("--listen", "127.0.0.1:0") as daemon:
        await daemon.read_line()

        assert (await daemon.end(number)).status == 0


async def test_an_unknown_variable_is_warned_about_in_the_log() -> None:
    async with start_program("--listen", "127.0.0.1:0", WS_SUBPROCESS_LISTN="x") as daemon:
        await daemon.read_line()
        result = await daemon.end(signal.SIGTERM)

    warnings = [line for line in log_lines(result.stderr) if line["message"] == "unknown environment variable"]
    assert ["did you mean WS_SUBPROCESS_LISTEN?" in line["detail"] for line in warnings] == [True]


async def test_root_is_warned_once_and_only_root() -> None:
    async with start_program("--listen", "127.0.0.1:0") as daemon:
        await daemon.read_line()
        is_root = re.search(r"^Uid:\t\d+\t0\t", daemon.read_proc("status"), re.M) is not None
        result = await daemon.end(signal.SIGTERM)

    warnings = [line for line in log_lines(result.stderr) if line["message"].startswith("running as root")]
    assert len(warnings) == is_root


async def test_the_console_form_of_the_log_can_be_asked_for() -> None:
    async with start_program("--listen", "127.0.0.1:0", "--log-format", "console") as daemon:
        url = (await daemon.read_line()).split()[1]
        result = await daemon.end(signal.SIGTERM)

    assert re.search(rf"^[\d:]+ info +listening addresses={url}$", result.stderr, re.M)


async def test_the_soft_limit_of_open_files_is_raised_as_far_as_needed() -> None:
    limit = ("prlimit", "--nofile=256:8192")
    async with start_program("--listen", "127.0.0.1:0", "--max-sessions", "500", prefix=limit) as daemon:
        await daemon.read_line()
        limits = daemon.read_proc("limits")

    assert re.search(r"^Max open files +3064 +8192 ", limits, re.M)


async def test_a_hard_limit_of_open_files_that_is_too_low_is_refused_with_the_number_needed() -> None:
    async with start_program("--max-sessions", "500", prefix=("prlimit", "--nofile=256:2063")) as daemon:
        result = await daemon.end()

    assert (result.status, result.stdout) == (2, "")
    assert "max_sessions = 500: needs 2064 open files, the hard limit is 2063; raise it" in result.stderr
    assert result.stderr.endswith(" or lower max_sessions to 499 [nofile_too_low]\n")


async def test_it_serves_when_nobody_reads_what_it_prints(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    to_full_disk = ("sh", "-c", 'exec "$@" >/dev/full', "sh")
    async with start_program("--listen", f"unix:{path}", prefix=to_full_disk) as daemon:
        assert await get_unix_status(path, "/healthz") == 200
        result = await daemon.end(signal.SIGTERM)

    assert result.status == 0
    assert "stdout cannot be written to" in result.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can see what a daemon holds open")
async def test_it_serves_without_stdin_stdout_and_stderr(tmp_path: Path) -> None:
    path = tmp_path / "ws.sock"
    without = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    async with start_program("--listen", f"unix:{path}", prefix=without) as daemon:
        assert await get_unix_status(path, "/healthz") == 200

        standard = [os.readlink(f"/proc/{daemon.process.pid}/fd/{number}") for number in range(3)]
        assert standard == ["/dev/null"] * 3
        assert (await daemon.end(signal.SIGTERM)).status == 0


def test_an_address_in_use_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

        result = run_program("--listen", f"127.0.0.1:{port}")

    assert (result.status, result.stdout) == (1, "")
    assert f"127.0.0.1:{port}" in result.stderr
    assert "Traceback" not in result.stderr


def test_wrong_settings_are_all_told_and_nothing_is_started() -> None:
    result = run_program("serve", "--listen", ":8866", "--max-sessions", "0", WS_SUBPROCESS_LOG_LEVEL="x")

    assert (result.status, result.stdout) == (2, "")
    assert [line.rsplit("[", 1)[1] for line in result.stderr.splitlines()] == [
        "bad_value]",
        "bad_listen]",
        "bad_value]",
    ]
