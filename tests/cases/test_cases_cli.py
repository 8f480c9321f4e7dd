"""The catalogue's command lines: what is wrong is named before anybody listens; odd starts and ends do no harm."""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from catalogue import Entry, case
from cli_program import DEADLINE_S, PROGRAM, Result, clean_environ, run_program, start_program
from daemon_process import StartDaemon
from expecting import expect_cli, variants
from observing import is_alive, until
from process_marks import LEAST_MARKED, find_marked, hostile_arguments, marking
from scripted_controller import ScriptedController
from terminal_client import hear_all, hear_until

from ws_subprocess.config.kinds import Bytes, Count, Duration
from ws_subprocess.config.settings import SETTINGS
from ws_subprocess.store.used_tokens import FILE_NAME

SERVE = ("serve", "--listen", "127.0.0.1:0")
MIB = 1024 * 1024


def write(path: Path, content: str | bytes, mode: int = 0o600) -> Path:
    """Write a file and return it."""
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    path.chmod(mode)
    return path


def run_behind(prefix: tuple[str, ...], *args: str, **variables: str) -> Result:
    """Run `ws-subprocess ARGS` behind another program to its end."""
    done = subprocess.run(
        [*prefix, *PROGRAM, *args],
        env=clean_environ(**variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


# Root reads everything; without these capabilities it does not.
AS_MORTAL = ("setpriv", "--inh-caps=-all", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


@case("CL-02")
@pytest.mark.parametrize("spelling", ["-listen", "--listen"])
async def test_both_forms_of_flags(entry: Entry, spelling: str) -> None:
    async with start_program(spelling, "127.0.0.1:0", "-controller-url", "http://127.0.0.1:1/") as daemon:
        assert (await daemon.read_line()).startswith("ready http://127.0.0.1:")
        expect_cli(entry, await daemon.end(signal.SIGTERM))


@case("CL-03")
def test_an_address_that_is_none(entry: Entry) -> None:
    with variants() as variant:
        for address in ("127.0.0.1:99999", ":abc", "[::1", "", "127.0.0.1", "unix:", "fd:x"):
            with variant(address):
                expect_cli(entry, run_program("serve", "--listen", address))


@case("CL-05")
def test_an_address_beyond_this_machine(entry: Entry) -> None:
    with variants() as variant:
        for address in ("0.0.0.0:0", "[::]:0", "192.0.2.1:0", "host.example:0"):
            with variant(address):
                result = run_program("serve", "--listen", address)
                expect_cli(entry, result)
                assert "insecure_listen" in result.stderr


@contextmanager
def settings_files(folder: Path) -> Iterator[dict[str, tuple[Path, str]]]:
    """Yield unusable settings files by what is wrong, with what must follow their path in the message.

    A file that is no TOML has a line and a column; a key that is wrong has its line; of a whole file there is no place.
    """
    whole, place, line = "", ":1:14", ":2"
    huge = folder / "huge"
    with open(huge, "wb") as file:
        file.truncate(100 * MIB)
    (folder / "directory").mkdir()
    yield {
        "missing": (folder / "missing", whole),
        "directory": (folder / "directory", whole),
        "unreadable": (write(folder / "unreadable", "", 0o000), whole),
        "world-writable": (write(folder / "writable", "", 0o666), whole),
        "not UTF-8": (write(folder / "latin", b'base_path = "\xff"'), place),
        "duplicate key": (write(folder / "duplicate", "max_sessions = 1\nmax_sessions = 2\n"), ":2:17"),
        "unknown key": (write(folder / "unknown", "\nmax_sesions = 1\n"), line),
        "wrong type": (write(folder / "type", '\nmax_sessions = "many"\n'), line),
        "not TOML": (write(folder / "syntax", "max_sessions 5\n"), ":1:14"),
        "100 MB": (huge, whole),
    }


@case("CL-07")
def test_a_settings_file_that_cannot_be_used(tmp_path: Path, entry: Entry) -> None:
    with settings_files(tmp_path) as files, variants() as variant:
        for name, (path, place) in files.items():
            with variant(name):
                result = run_behind(AS_MORTAL, *SERVE, "--config", str(path))
                expect_cli(entry, result)
                assert result.stderr.startswith(f"ws-subprocess: {path}{place}: "), result.stderr


@case("CL-08")
def test_a_secret_in_the_command_line(entry: Entry) -> None:
    secret = "c4nary-s3cret-of-more-than-32-bytes"
    flags = {
        "controller_hmac_key": ("--controller-hmac-key", secret),
        "a word of base64": ("--controller-hmac-key", "c2VjcmV0LXNlY3JldC1zZWNyZXQ="),
        "jwt_keys": ("--jwt-audience", "x", "--jwt-key", secret),
        "with an algorithm": ("--jwt-audience", "x", "--jwt-key", f"HS256:{secret}"),
    }

    with variants() as variant:
        for name, arguments in flags.items():
            with variant(name):
                result = run_program(*SERVE, *arguments)
                expect_cli(entry, result)
                assert secret not in result.stderr
                assert "file:" in result.stderr
                assert "env:" in result.stderr


@case("CL-09", "JW-22")
def test_a_key_that_everybody_knows_or_guesses(tmp_path: Path, entry: Entry) -> None:
    good = "x" * 32
    keys = {
        "world-readable": write(tmp_path / "readable", good, 0o644),
        "world-writable": write(tmp_path / "writable", good, 0o622),
        "31 bytes": write(tmp_path / "short", good[:-1]),
        "1 byte": write(tmp_path / "tiny", "x"),
        "empty": write(tmp_path / "empty", ""),
        "only a newline": write(tmp_path / "newline", "\n"),
    }
    if entry.id == "JW-22":
        keys = {name: path for name, path in keys.items() if "world" not in name}

    with variants() as variant:
        for name, path in keys.items():
            with variant(name):
                result = run_program(*SERVE, "--jwt-audience", "x", "--jwt-key", f"HS256:file:{path}")
                expect_cli(entry, result, name)
                assert str(path) in result.stderr
        with variant("environment"):
            short = run_program(*SERVE, "--jwt-audience", "x", "--jwt-key", "HS256:env:K", K=good[:-1])
            expect_cli(entry, short)
            assert good[:-1] not in short.stderr


@case("CL-09")
async def test_without_any_authority_the_usual_controller_is_asked(entry: Entry) -> None:
    async with start_program("--listen", "127.0.0.1:0") as daemon:
        assert (await daemon.read_line()).startswith("ready ")
        expect_cli(entry, await daemon.end(signal.SIGTERM), "both absent")


@case("CL-12")
def test_an_account_that_there_is_not(entry: Entry) -> None:
    nobody_knows = "no-such-account"
    powerless = ("setpriv", "--inh-caps=-all", "--bounding-set=-setuid,-setgid") if os.geteuid() == 0 else ()
    cases = {
        "user": ((), ("--user", nobody_knows)),
        "group": ((), ("--group", nobody_knows)),
        "user and group": ((), ("--user", "nobody", "--group", nobody_knows)),
        "no permission": (powerless, ("--user", "nobody")),
    }

    with variants() as variant:
        for name, (prefix, arguments) in cases.items():
            with variant(name):
                result = run_behind(prefix, *SERVE, *arguments)
                expect_cli(entry, result)
                assert ("nobody" if name == "no permission" else nobody_knows) in result.stderr


def bounded_settings() -> dict[str, Count | Duration | Bytes]:
    """Return the kinds of all settings that have bounds, by flag."""
    return {
        setting.flag: setting.kind
        for setting in SETTINGS.values()
        if isinstance(setting.kind, Count | Duration | Bytes)
    }


def has_zero(kind: Count | Duration | Bytes) -> bool:
    """Tell whether 0 means something to a setting of this kind."""
    return not (kind.low_s if isinstance(kind, Duration) else kind.low)


@case("CL-13")
def test_a_limit_that_is_none(entry: Entry) -> None:
    kinds = bounded_settings()
    values = {
        "negative": dict.fromkeys(kinds, "-1"),
        "zero": {flag: "0" for flag, kind in kinds.items() if not has_zero(kind)},
        "huge": dict.fromkeys(kinds, "9" * 15),
        "immense": dict.fromkeys(kinds, "9" * 400),
        "abc": dict.fromkeys(kinds, "abc"),
        "1XB": dict.fromkeys(kinds, "1XB"),
        "infinite": {flag: value for flag in kinds for value in ("inf",)},
        "no number": dict.fromkeys(kinds, "nan"),
        "empty": dict.fromkeys(kinds, ""),
    }
    assert len(values["zero"]) > 10

    with variants() as variant:
        for name, flags in values.items():
            with variant(name):
                result = run_program(*SERVE, *(f"{flag}={value}" for flag, value in flags.items()))
                expect_cli(entry, result)
                assert [line.split(": ")[1] for line in result.stderr.splitlines()] == list(flags)


@case("CL-14")
def test_fewer_descriptors_than_the_sessions_need(entry: Entry) -> None:
    result = run_behind(("prlimit", "--nofile=256:1000"), *SERVE, "--max-sessions", "1000")

    expect_cli(entry, result)
    needed = re.search(r"needs (\d+) open files, the hard limit is 1000", result.stderr)
    assert needed is not None
    assert int(needed[1]) >= 4 * 1000


@case("CL-15")
def test_fewer_terminals_than_the_sessions_need(entry: Entry) -> None:
    most = int(Path("/proc/sys/kernel/pty/max").read_text())
    # Its reserve is 64 terminals; the descriptors that so many sessions need would be refused on a line of its own.
    result = run_program(*SERVE, "--max-sessions", str(most - 63))

    lines = [line for line in result.stderr.splitlines() if "[nofile_too_low]" not in line]
    expect_cli(entry, Result(result.status, result.stdout, "\n".join(lines)))
    assert f"needs {most + 1} terminals, kernel.pty.max is {most}" in result.stderr


def corrupt(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"garbage " * 1000)


def truncate(path: Path) -> None:
    make_database(path, "CREATE TABLE used (key BLOB PRIMARY KEY, expires_at REAL); PRAGMA user_version = 1")
    os.truncate(path, path.stat().st_size // 2)


def make_newer(path: Path) -> None:
    make_database(path, "CREATE TABLE used_2 (key BLOB); PRAGMA user_version = 99")


def make_foreign(path: Path) -> None:
    make_database(path, "CREATE TABLE bookmarks (url TEXT)")


def make_database(path: Path, script: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.executescript(script)


@case("CL-17")
@pytest.mark.parametrize("spoil", [corrupt, truncate, make_newer, make_foreign])
def test_a_state_that_cannot_be_used(tmp_path: Path, entry: Entry, spoil: Callable[[Path], None]) -> None:
    path = tmp_path / FILE_NAME
    spoil(path)
    content = path.read_bytes()

    result = run_program(*SERVE, "--token-once", "--state-dir", str(tmp_path))

    expect_cli(entry, result)
    assert str(path) in result.stderr
    assert path.read_bytes() == content


@case("CL-17")
def test_a_state_that_somebody_else_holds(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / FILE_NAME
    make_database(path, "CREATE TABLE used (key BLOB PRIMARY KEY, expires_at REAL); PRAGMA user_version = 1")

    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN EXCLUSIVE")
        result = run_program(*SERVE, "--token-once", "--state-dir", str(tmp_path))

    expect_cli(entry, result)
    assert str(path) in result.stderr
    assert "move it away" not in result.stderr, "who does that to a file in use makes used tokens good again"
    assert path.exists()


# How it is started and ended.

# Ignores what a daemon needs, blocks what ends it, and becomes the program.
SPOIL_SIGNALS = """
import os, signal, sys
for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP})
os.execv(sys.argv[1], sys.argv[1:])
"""


@case("CL-19")
async def test_signals_that_were_ignored_and_blocked(
    start_daemon: StartDaemon, controller: ScriptedController, entry: Entry
) -> None:
    daemon = await start_daemon(program=(PROGRAM[0], "-c", SPOIL_SIGNALS, *PROGRAM))

    for code in (0, 7):
        async with daemon.open(controller.allow("/bin/sh", "-c", f"exit {code}")) as websocket:
            assert (await hear_all(websocket)).ending == (code, None)
    async with daemon.open(
        controller.allow("/bin/grep", "^Sig[BI]\\|^Shd", "/proc/self/status", tty=False)
    ) as websocket:
        heard = await hear_all(websocket)
    masks = {name: int(mask, 16) for name, mask in (line.split(":\t") for line in heard.output.decode().splitlines())}
    # The C library's posix_spawn leaves its own two, 32 and 33, ignored, whoever calls it.
    masks["SigIgn"] &= ~(3 << 31)
    assert (masks["SigBlk"], masks["SigIgn"], masks["ShdPnd"]) == (0, 0, 0)

    daemon.send(signal.SIGTERM)
    expect_cli(entry, Result(await daemon.ended(), "", daemon.log))


@case("CL-20")
async def test_without_stdin_stdout_and_stderr(tmp_path: Path, entry: Entry) -> None:
    path = tmp_path / "ws.sock"
    without = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")

    async with start_program("--listen", f"unix:{path}", prefix=without) as daemon:
        with socket.socket(socket.AF_UNIX) as client:
            # That the path is there is not enough: it is before anybody listens.
            await until(lambda: client.connect_ex(str(path)) == 0, "the socket", DEADLINE_S)
            folder = f"/proc/{daemon.process.pid}/fd"
            await until(lambda: len(list_sockets(folder)) >= 2, "the connection")
            assert [os.readlink(f"{folder}/{number}") for number in range(3)] == ["/dev/null"] * 3
            assert min(list_sockets(folder)) > 2
        expect_cli(entry, await daemon.end(signal.SIGTERM))


def list_sockets(folder: str) -> list[int]:
    """Return the numbers of a process' sockets."""
    return [int(name) for name in os.listdir(folder) if os.readlink(f"{folder}/{name}").startswith("socket:")]


@case("CL-22")
@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_while_it_drains(
    start_daemon: StartDaemon, controller: ScriptedController, entry: Entry, second: signal.Signals
) -> None:
    daemon = await start_daemon("--drain-timeout", "60s")
    with marking() as mark:
        async with daemon.open(controller.allow("/bin/sh", *hostile_arguments(mark))) as websocket:
            await hear_until(websocket, b"ready")
            await until(lambda: len(find_marked(mark)) >= LEAST_MARKED, "the tree")
            daemon.send(signal.SIGTERM)
            await until(lambda: "drain" in daemon.log, "the draining")
            assert is_alive(daemon.pid)

            begun_s = time.monotonic()
            daemon.send(second)
            status = await daemon.ended()
            ended_s = time.monotonic() - begun_s

            expect_cli(entry, Result(status, "", daemon.log))
            assert ended_s < 2
            assert find_marked(mark) == {}
