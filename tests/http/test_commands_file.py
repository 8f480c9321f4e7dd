"""The file of commands: what it may say, and how mistakes are told."""

from pathlib import Path

import pytest
from starlette.routing import Mount, Route, WebSocketRoute

from ws_subprocess.app import OWN_PATHS, create_app
from ws_subprocess.config.commands_file import CommandsFile, read_commands
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import Settings
from ws_subprocess.process.environ import is_refused
from ws_subprocess.service.job import Retention
from ws_subprocess.service.named_command import NamedCommand, derive_key, derive_own_key

GOOD = """
[[command]]
name = "scan"
command = "/usr/bin/nmap"
args = ["-sn"]
cwd = "/srv"
env = { LANG = "C" }
timeout_s = 60
max_running = 2
priority = -3
retention = "keep"
ttl_s = 600
allow_args = false
allow_files = false
"""


def read(folder: Path, text: str) -> CommandsFile:
    path = folder / "commands.toml"
    path.write_text(text)
    return read_commands(str(path), {"HOOK_KEY": "k" * 32}, is_refused)


def test_all_keys_are_read(tmp_path: Path) -> None:
    (command,) = read(tmp_path, GOOD).commands

    assert command == NamedCommand(
        name="scan",
        command="/usr/bin/nmap",
        args=("-sn",),
        spelled=("/usr/bin/nmap", "-sn"),
        cwd="/srv",
        env={"LANG": "C"},
        timeout_s=60.0,
        max_running=2,
        priority=-3,
        retention=Retention.KEEP,
        ttl_s=600.0,
        allow_args=False,
        allow_files=False,
    )


def test_callbacks_are_read(tmp_path: Path) -> None:
    table = (
        '[callbacks]\nhmac_key = "env:HOOK_KEY"\nports = [8443]\nhttp_hosts = ["Inside"]\nnetworks = ["10.1.0.0/16"]'
    )

    rules = read(tmp_path, GOOD + table).callbacks

    assert rules is not None
    assert (rules.hmac_key, rules.ports, rules.http_hosts) == (b"k" * 32, {8443}, {"inside"})
    assert read(tmp_path, GOOD).callbacks is None


ECHO = '[[command]]\nname = "a"\ncommand = "/bin/echo"\n'
WRONG = {
    "": "0 commands",
    "command = 1": "not a list of tables",
    "[[commands]]": "no key of the file",
    '[[command]]\nname = "a"': "command",
    '[[command]]\nname = "a"\ncommand = "echo"': "an absolute path",
    '[[command]]\ncommand = "/bin/echo"': "name",
    '[[command]]\nname = "../a"\ncommand = "/bin/echo"': "name",
    '[[command]]\nname = "output"\ncommand = "/bin/echo"': "name",
    ECHO + ECHO: "stands twice",
    ECHO + "colour = 1": "'colour' is no key",
    ECHO + 'args = "x"': "args",
    ECHO + 'env = { LD_PRELOAD = "x" }': "LD_PRELOAD",
    ECHO + "timeout_s = 0": "timeout_s = 0",
    ECHO + "timeout_s = nan": "timeout_s",
    ECHO + "max_running = 0": "max_running = 0",
    ECHO + "priority = 1.5": "priority = 1.5",
    ECHO + 'retention = "x"': "retention = 'x'",
    ECHO + 'allow_args = "yes"': "allow_args = 'yes'",
    ECHO + "[callbacks]": "hmac_key: missing",
    ECHO + '[callbacks]\nhmac_key = "secret"': "a secret does not belong here",
    ECHO + '[callbacks]\nhmac_key = "env:NONE"': "the environment has no NONE",
    ECHO + '[callbacks]\nhmac_key = "env:HOOK_KEY"\nports = []': "ports",
    ECHO + '[callbacks]\nhmac_key = "env:HOOK_KEY"\nnetworks = ["x"]': "networks",
    "x = ": "not valid TOML",
}


@pytest.mark.parametrize(("text", "told"), WRONG.items(), ids=[repr(text[-30:]) for text in WRONG])
def test_a_mistake_is_told_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text)

    assert told in str(caught.value)
    assert "commands.toml" in str(caught.value)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, ECHO + "ttl_s = 0\n" + '[[command]]\nname = "b"\n')

    assert len(caught.value.problems) == 2


def test_a_file_that_anyone_may_write_to_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "commands.toml").write_text(GOOD)
    (tmp_path / "commands.toml").chmod(0o666)

    with pytest.raises(ConfigError, match="chmod o-w"):
        read_commands(str(tmp_path / "commands.toml"), {}, is_refused)


def test_keys_are_those_that_the_extension_computes() -> None:
    # python -c 'import hashlib; print(hashlib.sha1(b"echo Hello World!").hexdigest()[:8])'
    assert derive_key(("echo", "Hello", "World!")) == "70c4af4f"


def test_no_two_command_lines_look_the_same_to_their_keys() -> None:
    lines = [("echo", "a b"), ("echo", "a", "b"), ("echo", "a", "b", ""), ("echo", "", "a", "b"), ("echo", "a ", "b")]

    keys = {derive_key(line) for line in lines} | {derive_key(lines[0], b""), derive_key(lines[0], b"x")}

    assert len(keys) == len(lines) + 2
    assert derive_own_key("70c4af4f", lines[0], b"me") != derive_own_key("70c4af4f", lines[0], b"you")


@pytest.mark.parametrize("own", OWN_PATHS)
@pytest.mark.parametrize("below", ["", "/below"])
def test_a_command_at_a_path_of_the_daemons_own_is_refused_at_the_start(tmp_path: Path, own: str, below: str) -> None:
    prefix, _, name = f"{own}{below}".rpartition("/")
    path = tmp_path / "commands.toml"
    path.write_text(f'[[command]]\nname = "{name}"\ncommand = "/bin/echo"\n')
    settings = Settings(controller_url="http://127.0.0.1:1", commands_file=str(path), commands_prefix=prefix)

    with pytest.raises(ConfigError, match=f"{name}: {own}{below} is a path of the daemon's own"):
        create_app(settings)


async def test_the_daemon_has_no_other_paths(tmp_path: Path) -> None:
    settings = Settings(
        controller_url="http://127.0.0.1:1",
        state_dir=str(tmp_path),
        process_door=True,
        payloads_door=True,
        rpc_door=True,
    )
    app = create_app(settings)
    try:
        paths = {route.path for route in app.router.routes if isinstance(route, Route | WebSocketRoute | Mount)}
    finally:
        await app.jobs.close()

    assert {path for path in paths if not any(f"{path}/".startswith(f"{own}/") for own in OWN_PATHS)} == {"/"}
