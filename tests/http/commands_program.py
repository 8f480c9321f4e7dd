"""The real program with a file of commands and static tokens, for tests that ask, kill, and starve it."""

import hashlib
from pathlib import Path

from daemon_process import DaemonProcess, launch

TOKEN = "a-token-that-nobody-can-guess-0123456789"
TOKENS = f"""
[[token]]
name = "tests"
hash = "sha256:{hashlib.sha256(TOKEN.encode()).hexdigest()}"
doors = ["commands"]
allow = [{{ door = "commands", command = "/bin/sh" }}]
"""
COMMANDS = """
[[command]]
name = "sh"
command = "/bin/sh"
args = ["-c"]
retention = "keep"
"""


def launch_commands(folder: Path, state_dir: Path) -> DaemonProcess:
    """Start the daemon with its command door open; its files go into a new folder."""
    folder.mkdir()
    (folder / "commands.toml").write_text(COMMANDS)
    (folder / "tokens.toml").write_text(TOKENS)
    flags = ["--commands-file", str(folder / "commands.toml"), "--tokens-file", str(folder / "tokens.toml")]
    return launch(folder, "serve", "--listen", "127.0.0.1:0", *flags, "--state-dir", str(state_dir))
