"""`config show` and `config check`, through the real program."""

import json
from pathlib import Path

import pytest
from cli_program import run_program

from ws_subprocess.config.settings import SETTINGS


def write_file(tmp_path: Path, text: str) -> str:
    path = tmp_path / "ws.toml"
    path.write_text(text)
    path.chmod(0o644)
    return str(path)


def test_show_tells_each_value_and_where_it_comes_from(tmp_path: Path) -> None:
    path = write_file(tmp_path, "\nmax_sessions = 5\nlog_level = 'debug'\n")

    result = run_program(
        "config", "show", "--config", path, "--log-level", "error", WS_SUBPROCESS_PING_INTERVAL_S="2500ms"
    )

    lines = {line.split()[0]: line.split(maxsplit=2)[1:] for line in result.stdout.splitlines()}
    assert result.status == 0
    assert lines.keys() == SETTINGS.keys()
    assert lines["listen"] == ["127.0.0.1:8866", "default"]
    assert lines["max_sessions"] == ["5", f"{path}:2"]
    assert lines["ping_interval_s"] == ["2.5s", "environment WS_SUBPROCESS_PING_INTERVAL_S"]
    assert lines["log_level"] == ["error", "--log-level"]


def test_show_can_print_json() -> None:
    result = run_program("config", "show", "--json", "--allow-origin", "https://a.example", "--ring-bytes", "2MiB")

    rows = json.loads(result.stdout)
    assert rows.keys() == SETTINGS.keys()
    assert rows["allow_origins"] == {"value": ["https://a.example"], "origin": "--allow-origin"}
    assert rows["ring_bytes"] == {"value": 2 * 1024 * 1024, "origin": "--ring-bytes"}
    assert rows["compression"] == {"value": False, "origin": "default"}


@pytest.mark.parametrize("args", [[], ["--json"]])
def test_show_tells_no_password(args: list[str]) -> None:
    result = run_program("config", "show", *args, "--database-url", "postgresql+psycopg://me:s3cret@db.example/jobs")

    assert "postgresql+psycopg://***@db.example/jobs" in result.stdout
    assert "s3cret" not in result.stdout


def test_show_warns_of_a_variable_that_is_no_setting() -> None:
    result = run_program("config", "show", WS_SUBPROCESS_MAX_SESION="5")

    assert result.status == 0
    assert result.stderr == (
        "ws-subprocess: warning: environment 'WS_SUBPROCESS_MAX_SESION' is no setting; "
        "did you mean WS_SUBPROCESS_MAX_SESSIONS?\n"
    )


def test_check_says_ok(tmp_path: Path) -> None:
    result = run_program("config", "check", "--config", write_file(tmp_path, "max_sessions = 5"))

    assert (result.status, result.stdout, result.stderr) == (0, "ok\n", "")


def test_check_tells_everything_that_is_wrong_a_line_each_and_exits_2(tmp_path: Path) -> None:
    path = write_file(tmp_path, "max_sessions = 'x'\nlisten = [':8866']\nmetric = 'all'\n")

    result = run_program("config", "check", "--config", path, "--ring-bytes", "1XB", WS_SUBPROCESS_METRICS="some")

    assert (result.status, result.stdout) == (2, "")
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        f"{path}:3",
        f"{path}:1",
        f"{path}:2",
        "environment WS_SUBPROCESS_METRICS",
        "--ring-bytes",
    ]


def test_check_takes_the_file_that_the_environment_names(tmp_path: Path) -> None:
    path = write_file(tmp_path, "max_sessions = 0")

    result = run_program("config", "check", WS_SUBPROCESS_CONFIG=path)

    assert result.status == 2
    assert result.stderr.startswith(f"ws-subprocess: {path}:1: max_sessions = 0: not in 1 to 100000")


def test_a_missing_file_is_named_with_the_way_out(tmp_path: Path) -> None:
    result = run_program("config", "check", "--config", str(tmp_path / "none"))

    assert result.status == 2
    assert result.stderr == (
        f"ws-subprocess: {tmp_path}/none: cannot be read: No such file or directory; "
        "name a file that exists and is readable [bad_config]\n"
    )
