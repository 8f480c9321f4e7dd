"""The process door of the real daemon: its own listener, static tokens, and an end that leaves nothing."""

import asyncio
import hashlib
import json
import signal
from collections.abc import Callable
from pathlib import Path

from daemon_process import DaemonProcess
from observing import is_alive, until

TOKEN = "a-token-of-the-lab"
TOKENS = f"""
[[token]]
name = "lab"
hash = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
doors = ["process"]
[[token.allow]]
door = "process"
command = "/bin/sh"
"""


async def curl(socket: Path, *args: str) -> tuple[int, bytes]:
    """Run curl against a unix socket; return its exit code and what it printed."""
    command = ("curl", "-s", "--unix-socket", str(socket), "-H", f"Authorization: Bearer {TOKEN}", *args)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    async with asyncio.timeout(60):
        out, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, out


def ask(script: str, cmd: str = "/bin/sh") -> tuple[str, ...]:
    body = json.dumps({"alias": "a", "cmd": cmd, "args": ["-c", script]})
    return ("-H", "Content-Type: application/json", "-d", body, "http://localhost/process")


async def test_the_door_has_a_listener_of_its_own_and_ends_with_the_daemon(
    launch_daemon: Callable[..., DaemonProcess], tmp_path: Path
) -> None:
    socket, tokens = tmp_path / "process.sock", tmp_path / "tokens.toml"
    tokens.write_text(TOKENS)
    tokens.chmod(0o600)
    daemon = launch_daemon(
        "serve", "--listen", "127.0.0.1:0", "--process-listen", f"unix:{socket}", "--tokens-file", str(tokens),
        "--drain-timeout", "0s",
    )  # fmt: skip
    await daemon.ready()

    assert await curl(socket, *ask("printf hi")) == (0, b"hi")
    assert await curl(socket, *ask("", cmd="/bin/ls"), "-o", "/dev/null", "-w", "%{http_code}") == (0, b"403")
    assert await curl(socket, "http://localhost/") == (0, b"Invalid path.")
    assert (await daemon.get("/process")).status_code == 404

    pid = tmp_path / "pid"
    running = asyncio.ensure_future(curl(socket, *ask(f"trap '' HUP; echo $$ > {pid}; echo begun; sleep 1000 & wait")))
    await until(lambda: pid.exists() and pid.read_text().strip(), timeout_s=60)
    daemon.send(signal.SIGTERM)

    exit_code, output = await running
    assert output == b"begun\n"
    assert exit_code == 18, "the answer was cut, and curl can tell"
    assert await daemon.ended() == 0
    assert not is_alive(int(pid.read_text()))
    assert not socket.exists()
