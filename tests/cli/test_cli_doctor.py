"""`doctor`: its report through the real program, and what it finds out about this machine."""

import json
import os
import pty
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from certificates import make_certificate
from cli_program import PROGRAM, Result, clean_environ, run_program, start_program
from observing import list_descriptors

from ws_subprocess.cli.checks import account, files, machine, network
from ws_subprocess.cli.checks.finding import Finding, State
from ws_subprocess.config.settings import Settings
from ws_subprocess.store.used_tokens import FILE_NAME

FREE = "127.0.0.1:0"


@pytest.fixture(name="controller")
def listen_for_nobody() -> Iterator[str]:
    """Give the URL of a controller that takes connections, into the kernel's queue."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}/ask"


def run_doctor(controller: str, *args: str) -> Result:
    return run_program("doctor", "--listen", FREE, "--controller-url", controller, *args)


def run_json(controller: str, *args: str) -> tuple[int, list[dict[str, str]]]:
    result = run_doctor(controller, *args, "--json")
    return result.status, json.loads(result.stdout)


def test_each_finding_is_a_line_and_without_problems_the_status_is_0(controller: str) -> None:
    result = run_doctor(controller)

    *lines, blank, summary = result.stdout.splitlines()
    assert (result.status, result.stderr) == (0, "")
    assert {line.split()[0] for line in lines} <= {"ok", "warning"}
    assert {"listen", "controller", "account", "terminals", "kernel", "static"} <= {line.split()[1] for line in lines}
    assert (blank, summary.split()[:2]) == ("", ["0", "problems,"])
    assert "\x1b" not in result.stdout, "no colours in a pipe"


def test_a_problem_is_told_with_the_way_out_and_the_status_is_1() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        url = f"http://127.0.0.1:{gone.getsockname()[1]}/ask"

    result = run_doctor(url)

    (line,) = [line for line in result.stdout.splitlines() if line.startswith("problem")]
    assert result.status == 1
    assert line.split(maxsplit=2)[1:] == [
        "controller",
        f"{url}: Connection refused; start it, or check controller_url and controller_socket",
    ]
    assert result.stdout.splitlines()[-1].startswith("1 problem, ")


def test_broken_settings_are_told_as_serve_tells_them_and_nothing_is_checked(tmp_path: Path) -> None:
    path = tmp_path / "ws.toml"
    path.write_text("max_sesions = 5\n")
    path.chmod(0o644)

    result = run_program("doctor", "--config", str(path), "--ring-bytes", "1XB")

    assert (result.status, result.stdout) == (2, "")
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [f"{path}:1", "--ring-bytes"]


def test_json_has_check_state_found_and_advice_of_each(controller: str) -> None:
    status, findings = run_json(controller, "--metrics", "all")

    (exposure,) = [finding for finding in findings if finding["check"] == "exposure"]
    assert status == 0
    assert all(finding.keys() == {"check", "state", "found", "advice"} for finding in findings)
    assert all(finding["advice"] for finding in findings if finding["state"] != "ok")
    assert exposure["state"] == "warning"


def test_an_expired_certificate_is_a_problem(controller: str, tmp_path: Path) -> None:
    late = make_certificate(tmp_path, "late", None, days=(-2, -1))

    result = run_doctor(controller, "--tls-cert", str(late.cert), "--tls-key", str(late.key))

    (line,) = [line for line in result.stdout.splitlines() if line.startswith("problem")]
    assert result.status == 1
    assert line.split()[1:3] == ["tls", f"{late.cert}:"]
    assert "certificate expired on " in line
    assert line.endswith("; renew it")


def test_a_port_that_is_taken_is_a_problem_that_names_the_process(controller: str) -> None:
    port = controller.rpartition(":")[2].removesuffix("/ask")

    status, findings = run_json(controller, "--listen", f"127.0.0.1:{port}")

    (listen,) = [finding for finding in findings if finding["check"] == "listen" and finding["state"] == "problem"]
    assert status == 1
    assert f"127.0.0.1:{port}: taken by pid {os.getpid()} (" in listen["found"]


async def test_beside_the_daemon_itself_a_taken_port_is_a_warning(controller: str) -> None:
    async with start_program("serve", "--listen", FREE, "--controller-url", controller) as daemon:
        ready = await daemon.read_line()
        address = ready.removeprefix("ready http://")
        (finding,) = network.check_listen(Settings(listen=(address,)))

    assert finding.state is State.WARNING
    assert finding.found == f"{address}: a ws-subprocess (pid {daemon.process.pid}) listens there"


def test_on_a_terminal_it_has_colours_and_fits_its_width(controller: str) -> None:
    master, slave = pty.openpty()
    os.set_blocking(master, False)
    shown = b""
    try:
        process = subprocess.Popen(
            [*PROGRAM, "doctor", "--listen", FREE, "--controller-url", controller, "--metrics", "all"],
            env=clean_environ(COLUMNS="70"),
            stdin=subprocess.DEVNULL,
            stdout=slave,
            stderr=slave,
        )
        process.wait(20)
        shown = os.read(master, 100_000)
    finally:
        os.close(master)
        os.close(slave)

    text = shown.decode().replace("\r\n", "\n")
    assert "\x1b[32m" in text
    assert "-> set metrics to loopback" in text

    assert max(len(line) for line in click.unstyle(text).splitlines()) <= 70


def only(findings: Iterator[Finding], check: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.check == check]
    return finding


def test_two_names_of_one_address_are_a_problem() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    *alone, together = network.check_listen(Settings(listen=(f"127.0.0.1:{port}", f"localhost:{port}")))

    assert [finding.state for finding in alone] == [State.OK, State.OK]
    assert together.state is State.PROBLEM


def test_everybody_by_ipv4_and_by_ipv6_is_no_contradiction() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]

    findings = network.check_listen(Settings(listen=(f"0.0.0.0:{port}", f"[::]:{port}"), insecure_listen=True))

    assert [finding.state for finding in findings] == [State.OK, State.OK]


def test_a_port_beyond_this_account_or_machine_is_a_problem() -> None:
    (finding,) = network.check_listen(Settings(listen=("192.0.2.1:80",), insecure_listen=True))

    assert finding.state is State.PROBLEM
    assert "this machine does not have that address" in finding.found


def test_sockets_that_will_be_handed_over_are_left_alone() -> None:
    before = list_descriptors()

    findings = list(network.check_listen(Settings(listen=("fd:9", "systemd"))))

    assert [finding.state for finding in findings] == [State.OK, State.OK]
    assert list_descriptors() == before


def test_a_unix_socket_s_place_is_looked_at_and_left_as_it_is(tmp_path: Path) -> None:
    def check(name: str) -> Finding:
        return only(network.check_listen(Settings(listen=(f"unix:{tmp_path}/{name}",))), "listen")

    (tmp_path / "file").write_text("")
    with socket.socket(socket.AF_UNIX) as live, socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(tmp_path / "dead"))
        live.bind(str(tmp_path / "live"))
        live.listen()
        before = sorted(os.listdir(tmp_path))

        states = {name: check(name).state for name in ("new", "file", "dead", "live", "none/new")}

    assert sorted(os.listdir(tmp_path)) == before
    assert states == {
        "new": State.OK,
        "file": State.PROBLEM,
        "dead": State.OK,
        "live": State.PROBLEM,
        "none/new": State.PROBLEM,
    }


@pytest.mark.parametrize(
    ("most", "state", "words"),
    [
        (1000, "problem", "max_sessions = 1000: needs 4064 open files, the hard limit is 1000; raise it"),
        (4100, "warning", "36 connections can wait, not max_waiting = 1000; raise the hard limit"),
    ],
)
async def test_too_few_open_files_are_told_with_the_numbers(controller: str, most: int, state: str, words: str) -> None:
    args = ("doctor", "--listen", FREE, "--controller-url", controller)

    async with start_program(*args, prefix=("prlimit", f"--nofile={most}:{most}")) as program:
        result = await program.end()

    (line,) = [line for line in result.stdout.splitlines() if line.split()[1:2] == ["open_files"]]
    assert line.startswith(state)
    assert words in line


def test_more_sessions_than_terminals_are_a_problem(controller: str) -> None:
    status, findings = run_json(controller, "--max-sessions", "100000")

    (finding,) = [finding for finding in findings if finding["check"] == "terminals"]
    assert status == 1
    assert finding["state"] == "problem"
    assert "max_sessions = 100000: needs 100064 terminals" in finding["found"]


def state_settings(folder: Path) -> Settings:
    return Settings(token_once=True, state_dir=str(folder))


def test_a_folder_for_used_tokens_is_written_to_and_left_empty(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)

    finding = only(files.check_state_dir(state_settings(tmp_path)), "state_dir")

    assert finding.state is State.OK
    assert finding.found.startswith(f"{tmp_path}: can be written to, ")
    assert list(tmp_path.iterdir()) == []


def test_used_tokens_that_the_daemon_could_not_read_are_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / FILE_NAME).write_bytes(b"no database at all" * 50)

    _, finding = files.check_state_dir(state_settings(tmp_path))

    assert (finding.check, finding.state) == ("state_dir", State.PROBLEM)
    assert finding.found == f"{tmp_path}/{FILE_NAME}: file is not a database"
    assert finding.advice.startswith("move it away")


def test_used_tokens_are_counted(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()

    _, finding = files.check_state_dir(state_settings(tmp_path))

    assert (finding.state, finding.found) == (State.OK, f"{tmp_path}: 0 used tokens remembered")


def test_a_folder_that_is_missing_is_not_made(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"

    finding = only(files.check_state_dir(state_settings(folder)), "state_dir")

    assert finding.state is State.OK
    assert finding.found.startswith(f"{folder}: will be made in {tmp_path}, ")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("below", ["", "/below"])
def test_a_file_in_the_folder_s_place_is_a_problem(tmp_path: Path, below: str) -> None:
    (tmp_path / "file").write_text("")

    finding = only(files.check_state_dir(state_settings(Path(f"{tmp_path}/file{below}"))), "state_dir")

    assert finding.state is State.PROBLEM
    assert finding.advice


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
@pytest.mark.parametrize("name", ["closed", "closed/state"])
def test_a_folder_that_this_account_may_not_look_into_is_a_problem(tmp_path: Path, name: str) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    (tmp_path / "closed").mkdir(mode=0o700)
    os.setresuid(65534, 65534, 0)
    try:
        finding = only(files.check_state_dir(state_settings(tmp_path / name)), "state_dir")
    finally:
        os.setresuid(0, 0, 0)

    assert finding.state is State.PROBLEM
    assert finding.advice


def test_commands_are_counted_and_what_is_wrong_with_their_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "commands.toml"

    def check(text: str) -> list[Finding]:
        path.write_text(text)
        return list(files.check_commands_file(Settings(commands_file=str(path))))

    echo = '[[command]]\nname = "a"\ncommand = "/bin/echo"\n'
    (ready,) = check(echo)
    (broken,) = check(echo + "colour = 1\n")
    absent, counted = check(f'{echo}[[command]]\nname = "b"\ncommand = "{tmp_path}/none"\n')

    assert (ready.state, ready.found) == (State.OK, f"{path}: 1 command")
    assert (broken.state, broken.found.partition(":")[0]) == (State.PROBLEM, str(path))
    assert (absent.state, f"{tmp_path}/none" in absent.found, bool(absent.advice)) == (State.WARNING, True, True)
    assert counted.found == f"{path}: 2 commands"


def test_a_folder_that_anyone_may_write_to_is_a_problem(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    finding = only(files.check_state_dir(state_settings(tmp_path)), "state_dir")

    assert (finding.state, finding.found) == (State.PROBLEM, f"{tmp_path}: anyone may write to it")
    assert finding.advice == "run `chmod o-w` on it"


@pytest.mark.parametrize(("name", "state"), [("new", State.OK), ("no/such", State.PROBLEM), (".", State.PROBLEM)])
def test_the_audit_s_file_is_looked_at_and_not_made(tmp_path: Path, name: str, state: State) -> None:
    finding = only(files.check_audit_log(Settings(audit_log=f"{tmp_path}/{name}")), "audit_log")

    assert finding.state is state
    assert list(tmp_path.iterdir()) == []


def test_an_audit_that_nobody_reads_is_a_problem(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    finding = only(files.check_audit_log(Settings(audit_log=f"{tmp_path}/pipe")), "audit_log")

    assert finding.state is State.PROBLEM
    assert finding.found == f"{tmp_path}/pipe: cannot be written to: No such device or address"


@pytest.mark.parametrize(
    ("user", "words"), [("nobody", "commands run as nobody (uid 65534"), ("nosuch", "no such account on this machine")]
)
def test_the_account_that_commands_run_as_is_looked_up(user: str, words: str) -> None:
    finding = only(account.check_account(Settings(user=user)), "account")

    if user == "nobody" and os.geteuid() != 0:
        words = "only root can change it"
    assert finding.state is (State.OK if words.startswith("commands run") else State.PROBLEM)
    assert words in finding.found


@pytest.mark.parametrize(
    ("options", "state"), [("hidepid=0", State.OK), ("hidepid=invisible", None), ("gid=5", State.OK)]
)
def test_hidden_processes_are_a_warning_for_all_but_root(tmp_path: Path, options: str, state: State | None) -> None:
    mounts = tmp_path / "mountinfo"
    mounts.write_text(f"22 27 0:21 / /proc rw,relatime - proc proc rw,{options}\n23 27 0:5 / /dev rw - tmpfs x rw\n")

    finding = only(machine.check_proc(Settings(), mounts), "proc")

    assert finding.state is (state or (State.OK if os.geteuid() == 0 else State.WARNING))
