"""The demo: both parts together, one address, and nothing left when it ends."""

import base64
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from websockets.sync.client import connect

START_TIMEOUT_S = 30
END_TIMEOUT_S = 15


def children_of(pid):
    """Return the process ids of all that descend from `pid`; a shell that starts has some that end at once."""
    family = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for child in path.read_text().split():
                family += [int(child), *children_of(child)]
    return family


def is_running(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture
def demo(tmp_path):
    """The demo on free ports with a database of its own: the process and the address it says to open."""
    command = [sys.executable, "-m", "example_controller.demo"]
    command += ["--listen", "127.0.0.1:0", "--daemon-listen", "127.0.0.1:0"]
    environment = os.environ | {"XDG_STATE_HOME": str(tmp_path)}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    ) as process:
        try:
            yield process, address_to_open(process.stdout)
        finally:
            # Not SIGKILL, which would leave no time to end what it started.
            process.terminate()
            process.communicate(timeout=END_TIMEOUT_S)


def address_to_open(output):
    lines = []
    for line in output:
        lines.append(line)
        if line.startswith("Open "):
            break
    opened = re.fullmatch(r"Open (http://127\.0\.0\.1:\d+)/ .*\n", lines[-1])
    assert opened is not None, "".join(lines)
    return opened[1]


def run_bash(origin):
    """Log in, start bash as the page does, and return an open websocket after its first prompt."""
    with httpx.Client(base_url=origin, headers={"Sec-Fetch-Site": "same-origin"}, trust_env=False) as browser:
        browser.post("/login", data={"name": "operator", "password": "let-me-type"})
        page = browser.post("/programs/bash").text
    token = re.search(r' token="([^"]+)"', page)[1]
    daemon = re.search(r'<ws-terminal src="http://([^"]+)"', page)[1]
    bearer = base64.urlsafe_b64encode(token.encode()).decode().rstrip("=")
    return connect(
        f"ws://{daemon}/ws",
        origin=origin,
        subprotocols=["ws-subprocess.v1", f"bearer.{bearer}"],
        open_timeout=START_TIMEOUT_S,
        proxy=None,
    )


def output_until(websocket, wanted):
    seen = b""
    while wanted not in seen:
        message = websocket.recv(timeout=START_TIMEOUT_S)
        seen += message if isinstance(message, bytes) else b""
    return seen


def test_a_page_of_the_controller_reaches_a_shell_of_the_daemon(demo):
    _, origin = demo

    with run_bash(origin) as websocket:
        hello = json.loads(websocket.recv(timeout=START_TIMEOUT_S))
        websocket.send(b"echo answer=$((6*7))\r")

        assert hello["title"] == "bash"
        assert output_until(websocket, b"answer=42")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_way_of_ending_it_ends_all_it_started(demo, number):
    process, origin = demo
    with run_bash(origin):
        family = children_of(process.pid)
        process.send_signal(number)
        process.communicate(timeout=END_TIMEOUT_S)

    assert process.returncode == 0
    assert len(family) >= 3
    assert [pid for pid in family if is_running(pid)] == []


def test_when_one_part_dies_the_other_ends_and_the_demo_says_which(demo):
    process, _ = demo
    family = children_of(process.pid)
    daemon = next(pid for pid in family if b"ws_subprocess" in Path(f"/proc/{pid}/cmdline").read_bytes())

    os.kill(daemon, signal.SIGKILL)
    rest = process.communicate(timeout=END_TIMEOUT_S)[0]

    assert process.returncode == 1
    assert "The daemon has ended" in rest
    assert [pid for pid in family if is_running(pid)] == []


@pytest.mark.parametrize("option", ["--listen", "--daemon-listen"])
def test_a_port_in_use_is_named_with_the_way_out(option):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = "--daemon-listen" if option == "--listen" else "--listen"
        command = [sys.executable, "-m", "example_controller.demo", option, address, other, "127.0.0.1:0"]
        result = subprocess.run(command, capture_output=True, text=True, timeout=END_TIMEOUT_S, check=False)

    assert result.returncode == 1
    assert f"{address}: Address already in use" in result.stderr
    assert "make demo PORT=" in result.stderr
    assert "Traceback" not in result.stderr


def test_both_parts_on_one_port_are_refused_before_anything_starts():
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    command = [sys.executable, "-m", "example_controller.demo", "--listen", address, "--daemon-listen", address]
    result = subprocess.run(command, capture_output=True, text=True, timeout=END_TIMEOUT_S, check=False)

    assert result.returncode == 1
    assert result.stderr.startswith(f"{address}: Address already in use")
    assert result.stdout == ""
