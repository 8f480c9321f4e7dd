"""A daemon's life as its operator sees it: start, signals, exit status, what is left behind."""

import contextlib
import json
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from running_server import WAIT_S, RawWebSocket, handshake, read_head

HERE = Path(__file__).parent


class Daemon:
    """A tiny_daemon that runs until the test is over."""

    def __init__(self, options, prefix=(), **popen):
        command = [*prefix, sys.executable, str(HERE / "tiny_daemon.py"), json.dumps(options)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, **popen)
        self.buffer = b""

    def line(self):
        """Return the next line that it says."""
        ends_at_s = time.monotonic() + WAIT_S
        while b"\n" not in self.buffer:
            ready, _, _ = select.select([self.process.stdout], [], [], ends_at_s - time.monotonic())
            part = os.read(self.process.stdout.fileno(), 4096) if ready else b""
            assert part, f"it said nothing more: {self.buffer!r}, {self.errors()}"
            self.buffer += part
        line, _, self.buffer = self.buffer.partition(b"\n")
        return line.decode()

    def address(self):
        """Wait until it accepts; return where."""
        while not (line := self.line()).startswith(("http://", "unix:")):
            assert line == "started"
        if line.startswith("unix:"):
            return line.removeprefix("unix:")
        host, _, port = line.removeprefix("http://").rpartition(":")
        return host.strip("[]"), int(port)

    def end(self, timeout_s=WAIT_S):
        """Return exit status and the lines it said at last."""
        status = self.process.wait(timeout_s)
        return status, (self.buffer + self.process.stdout.read()).decode().splitlines()

    def errors(self):
        self.process.kill()
        return self.process.stderr.read().decode()


@pytest.fixture
def daemon(tmp_path):
    """Return a function that starts a tiny_daemon."""
    with contextlib.ExitStack() as stack:

        def start(popen=None, **options):
            started = Daemon(options, **(popen or {}))
            stack.callback(started.process.stderr.close)
            stack.callback(started.process.stdout.close)
            stack.callback(started.process.wait)
            stack.callback(started.process.kill)
            return started

        yield start


def open_websocket(address):
    sock = socket.create_connection(address, timeout=WAIT_S)
    sock.sendall(handshake())
    return RawWebSocket(sock, read_head(sock))


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_one_signal_without_sessions_ends_at_once_with_status_0(daemon, signum):
    started = daemon()
    started.address()
    began_s = time.monotonic()

    started.process.send_signal(signum)

    assert started.end() == (0, ["begin_drain", "kill_sessions", "ended"])
    assert time.monotonic() - began_s < 5
    assert started.errors() == ""


def test_while_draining_new_clients_are_answered(daemon):
    started = daemon(sessions="stubborn", drain_timeout_s=1.0)
    address = started.address()

    started.process.send_signal(signal.SIGTERM)

    assert started.line() == "begin_drain"
    with socket.create_connection(address, timeout=WAIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 503 ")
    assert started.end() == (0, ["end_sessions", "kill_sessions", "ended"])


def test_what_is_still_connected_after_the_drain_is_closed_with_1012(daemon):
    started = daemon(sessions="stubborn", drain_timeout_s=0.2)

    with open_websocket(started.address()) as client:
        started.process.send_signal(signal.SIGTERM)

        assert client.read_close() == (1012, "service restart")
        client.send(8, b"\x03\xf4")
        assert client.sock.recv(1) == b""
    status, lines = started.end()
    assert status == 0
    assert "code 1012" in lines


@pytest.mark.parametrize("sessions", ["stubborn", "immortal"])
def test_a_second_signal_ends_everything_at_once(daemon, sessions):
    started = daemon(sessions=sessions, drain_timeout_s=0.1 if sessions == "immortal" else 60)
    with open_websocket(started.address()):
        started.process.send_signal(signal.SIGTERM)
        assert started.line() == "begin_drain"
        if sessions == "immortal":
            assert started.line() == "end_sessions"
        began_s = time.monotonic()

        started.process.send_signal(signal.SIGTERM)

        status, lines = started.end()
    assert status == 0
    assert lines[0] == "kill_sessions"
    assert time.monotonic() - began_s < 2


def test_a_second_signal_while_clients_are_closed_ends_at_once_too(daemon):
    started = daemon(close_timeout_s=60)
    with open_websocket(started.address()) as client:
        started.process.send_signal(signal.SIGTERM)
        assert client.read_close() == (1012, "service restart")
        began_s = time.monotonic()

        started.process.send_signal(signal.SIGTERM)

        assert started.end()[0] == 0
    assert time.monotonic() - began_s < 2


def test_a_failing_start_of_the_application_is_told(daemon):
    started = daemon(startup_fails=True)

    assert started.end() == (1, ["the application did not start; the log says why"])


def test_a_unix_socket_is_removed_at_the_end(daemon, tmp_path):
    path = tmp_path / "daemon.sock"
    started = daemon(listen=[f"unix:{path}"])
    assert started.address() == str(path)
    assert path.is_socket()

    started.process.send_signal(signal.SIGTERM)

    assert started.end()[0] == 0
    assert not path.exists()


def test_a_unix_socket_of_a_killed_daemon_is_taken_over(daemon, tmp_path):
    path = tmp_path / "daemon.sock"
    killed = daemon(listen=[f"unix:{path}"])
    killed.address()
    killed.process.kill()
    killed.end()
    assert path.is_socket()

    assert daemon(listen=[f"unix:{path}"]).address() == str(path)


def test_systemd_hands_its_sockets_over(daemon):
    with socket.create_server(("127.0.0.1", 0)) as first, socket.create_server(("127.0.0.1", 0)) as second:
        fds = (first.fileno(), second.fileno())
        # What systemd does between fork and exec.
        script = f'export LISTEN_PID=$$ LISTEN_FDS=2; exec "$0" "$@" 3<&{fds[0]} 4<&{fds[1]}'
        started = daemon(popen={"pass_fds": fds, "prefix": ["bash", "-c", script]}, listen=["systemd"])
        addresses = {started.address(), started.address()}

        assert addresses == {first.getsockname(), second.getsockname()}
    with socket.create_connection(addresses.pop(), timeout=WAIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")


def test_sockets_meant_for_another_process_are_refused(daemon):
    started = daemon(popen={"env": {**os.environ, "LISTEN_PID": "1", "LISTEN_FDS": "1"}}, listen=["systemd"])

    status, lines = started.end()

    assert status == 1
    assert lines == ["cannot listen on systemd: LISTEN_PID 1 is not this process; let systemd start it directly"]


@pytest.mark.parametrize("abstract", [False, True], ids=["file", "abstract"])
def test_the_service_manager_is_told(daemon, tmp_path, abstract):
    name = f"@ws-{os.getpid()}" if abstract else str(tmp_path / "notify.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0"))
        manager.settimeout(WAIT_S)
        started = daemon(popen={"env": {**os.environ, "NOTIFY_SOCKET": name}})

        assert manager.recv(100) == b"READY=1"
        started.process.send_signal(signal.SIGTERM)
        assert manager.recv(100) == b"STOPPING=1"

    assert started.end()[0] == 0


def test_a_careless_parent_does_no_harm(tmp_path):
    out = tmp_path / "out"
    script = 'trap "" CHLD PIPE; exec "$0" -c "$1" "$2" <&- >&- 2>"$3"'
    code = (
        "import os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))\n"
        "from ws_subprocess.server.process_state import prepare_process\n"
        "prepare_process()\n"
        "is_default = signal.getsignal(signal.SIGCHLD) is signal.SIG_DFL\n"
        "print(*map(os.readlink, ('/proc/self/fd/0', '/proc/self/fd/1')), file=sys.stderr)\n"
        "print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), is_default, file=sys.stderr)\n"
    )

    subprocess.run(["bash", "-c", script, sys.executable, code, "", str(out)], check=True, timeout=WAIT_S)

    assert out.read_text() == "/dev/null /dev/null\nset() True\n"


def test_running_out_of_descriptors_neither_spins_nor_ends_the_listening(daemon):
    started = daemon(popen={"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40))})
    address = started.address()
    with contextlib.ExitStack() as crowd:
        for _ in range(60):
            crowd.enter_context(socket.create_connection(address, timeout=WAIT_S))
        before_s = cpu_time_s(started.process.pid)
        select.select([], [], [], 1.0)
        assert cpu_time_s(started.process.pid) - before_s < 0.05

    with socket.create_connection(address, timeout=WAIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
    started.process.send_signal(signal.SIGTERM)
    assert started.end()[0] == 0


def cpu_time_s(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_uvicorns_environment_variables_change_nothing(daemon):
    environ = {**os.environ, "WEB_CONCURRENCY": "4", "FORWARDED_ALLOW_IPS": "*", "UVICORN_PORT": "1"}
    started = daemon(popen={"env": environ})
    address = started.address()

    with socket.create_connection(address, timeout=WAIT_S) as sock:
        sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
    children = Path(f"/proc/{started.process.pid}/task/{started.process.pid}/children").read_text()
    assert children == ""
