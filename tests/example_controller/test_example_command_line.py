"""`python -m example_controller` as a process: what it prints, what it refuses, how it ends."""

import re
import signal
import socket
import stat
import subprocess
import sys

import httpx
import pytest

END_TIMEOUT_S = 15


def start(*arguments):
    command = [sys.executable, "-m", "example_controller", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def run(*arguments):
    command = [sys.executable, "-m", "example_controller", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=END_TIMEOUT_S, check=False)


def lines_until_ready(process):
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip())
        if line.startswith("ready "):
            return lines
    raise AssertionError(lines)


@pytest.fixture
def served(tmp_path):
    """A controller on a free port: its lines until ready."""
    with start("--listen", "127.0.0.1:0", "--database", str(tmp_path / "deep" / "controller.sqlite3")) as process:
        yield process, lines_until_ready(process)
        process.kill()


def test_it_prints_the_daemons_command_line_and_then_serves(served):
    _, lines = served
    (origin,) = re.findall(r"^ready (http://127\.0\.0\.1:\d+)$", lines[-1])

    page = httpx.get(f"{origin}/login", trust_env=False)

    assert page.status_code == 200
    assert lines[0].endswith(f"ws-subprocess serve --controller-url {origin}/ws-controller --allow-origin {origin}")


def test_the_database_is_readable_for_its_owner_only(served, tmp_path):
    folder = tmp_path / "deep"

    modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "controller.sqlite3")]

    assert modes == [0o700, 0o600]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)])
def test_a_signal_ends_it_without_a_traceback(served, number, code):
    process, _ = served

    process.send_signal(number)
    rest = process.communicate(timeout=END_TIMEOUT_S)[0]

    assert process.returncode == code
    assert rest == ""


def test_no_line_of_the_log_holds_a_token(served):
    process, lines = served
    origin = lines[-1].removeprefix("ready ")
    with httpx.Client(base_url=origin, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False) as browser:
        browser.post("/login", data={"name": "operator", "password": "let-me-type"})
        token = browser.post("/programs/bash/token").json()["token"]
        browser.get("/ws-controller", params={"token": token})
        browser.get("/ws-controller", params={"token": token})
    process.terminate()

    log = process.communicate(timeout=END_TIMEOUT_S)[0]

    assert [line.split(" ", 2)[2] for line in log.splitlines()] == [
        "logged in user=operator program=-",
        "token written user=operator program=bash",
        "token used user=- program=-",
        "token refused user=- program=-",
    ]


def test_the_default_database_lies_in_the_state_directory(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with start("--listen", "127.0.0.1:0") as process:
        lines_until_ready(process)
        process.kill()

    assert (tmp_path / "ws-subprocess-example" / "controller.sqlite3").is_file()


def test_a_port_in_use_is_named_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        result = run("--listen", address)

    assert result.returncode == 2
    assert f"--listen {address}: Address already in use" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--listen", "8867"], "'8867' is not HOST:PORT"),
        (["--listen", "127.0.0.1:70000"], "'127.0.0.1:70000' is not HOST:PORT"),
        (["--listen", "0.0.0.0:8867"], "0.0.0.0 is not a loopback address"),
        (["--listen", "example.org:8867"], "example.org is not a loopback address"),
        (["--daemon", "ws://127.0.0.1:8866"], "'ws://127.0.0.1:8866' is not http://NAME:PORT"),
        (["--daemon", "http://[::1]:8866"], "'http://[::1]:8866' is not http://NAME:PORT"),
        (["--daemon", "http://a.example; script-src *"], "is not http://NAME:PORT"),
        (
            ["--listen", "127.0.0.1:0", "--database", "/proc/nothing/controller.sqlite3"],
            "/proc/nothing/controller.sqlite3",
        ),
        (["--", "no-such-tool"], "no-such-tool: there is no such program"),
    ],
)
def test_a_wrong_argument_is_named(arguments, words):
    result = run(*arguments)

    assert result.returncode == 2
    assert words in result.stderr
    assert "Traceback" not in result.stderr


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path):
    path = tmp_path / "letter.txt"
    path.write_text("Dear reader, this is no database. " * 9)

    result = run("--listen", "127.0.0.1:0", "--database", str(path))

    assert result.returncode == 2
    assert f"{path}: file is not a database; name another file with --database" in result.stderr
    assert path.read_text().startswith("Dear reader")


def test_options_after_the_dashes_belong_to_the_command(tmp_path):
    database = str(tmp_path / "controller.sqlite3")
    with start("--listen", "127.0.0.1:0", "--database", database, "--", "/bin/ls", "--listen", "x") as process:
        origin = lines_until_ready(process)[-1].removeprefix("ready ")
        page = httpx.get(origin, trust_env=False)
        process.kill()

    assert "/bin/ls --listen x" in page.text


def test_it_runs_without_the_daemons_package():
    code = (
        "import sys; sys.modules['ws_subprocess'] = None; "
        "import example_controller.__main__, example_controller.demo; "
        "print(sorted(name for name in sys.modules if name.startswith('ws_subprocess.')))"
    )

    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert (result.returncode, result.stdout) == (0, "[]\n")
