"""The command line itself: both spellings of flags, the default subcommand, help, version, and how fast help comes."""

import re
import subprocess
import sys

import pytest
from cli_program import clean_environ, run_program

from ws_subprocess import __version__
from ws_subprocess.config.kinds import Switch
from ws_subprocess.config.settings import SETTINGS

VALUE_FLAGS = [setting for setting in SETTINGS.values() if not isinstance(setting.kind, Switch)]
HEAVY_MODULES = {"asyncio", "starlette", "uvicorn", "httpx", "websockets", "prometheus_client", "ptyprocess", "ssl"}


@pytest.mark.parametrize("spelling", ["--{} VALUE", "--{}=VALUE", "-{} VALUE", "-{}=VALUE"])
def test_every_flag_is_taken_in_each_spelling(spelling: str) -> None:
    written = [spelling.format(setting.flag.removeprefix("--")).split(" ") for setting in VALUE_FLAGS]
    args = [arg.replace("VALUE", "no/such/\x7f") for pair in written for arg in pair]

    result = run_program("config", "check", *args)

    assert result.status == 2
    assert {line.split(": ")[1] for line in result.stderr.splitlines()} == {setting.flag for setting in VALUE_FLAGS}


@pytest.mark.parametrize("dashes", ["-", "--"])
@pytest.mark.parametrize(("name", "value"), [("compression", "true"), ("no-compression", "false")])
def test_a_switch_is_taken_in_each_spelling(dashes: str, name: str, value: str) -> None:
    opposite = {"true": "false", "false": "true"}[value]

    result = run_program("config", "show", f"{dashes}{name}", WS_SUBPROCESS_COMPRESSION=opposite)

    (line,) = [line for line in result.stdout.splitlines() if line.startswith("compression")]
    assert line.split() == ["compression", value, "--compression"]


def test_a_value_that_looks_like_a_flag_stays_a_value() -> None:
    result = run_program("config", "check", "--metrics", "-listen")

    assert "metrics = '-listen': not one of loopback, all, off" in result.stderr


@pytest.mark.parametrize("args", [["serve"], []])
def test_without_a_subcommand_it_serves(args: list[str]) -> None:
    result = run_program(*args, "-listen", "nowhere", "-controller-url", "ftp://x")

    assert result.status == 2
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == ["--listen", "--controller-url"]


def test_an_unknown_subcommand_is_refused() -> None:
    result = run_program("sreve")

    assert result.status == 2
    assert "No such command 'sreve'" in result.stderr


def test_an_unknown_flag_is_refused_with_a_proposal() -> None:
    result = run_program("--max-session", "5")

    assert result.status == 2
    assert "--max-sessions" in result.stderr


@pytest.mark.parametrize("flag", ["--version", "-version"])
def test_version_is_printed(flag: str) -> None:
    result = run_program(flag)

    assert (result.status, result.stdout) == (0, f"ws-subprocess {__version__}\n")


@pytest.mark.parametrize("flag", ["-h", "-help", "--help"])
@pytest.mark.parametrize("command", [[], ["serve"], ["run"], ["config"], ["config", "show"], ["config", "check"]])
def test_help_is_printed(command: list[str], flag: str) -> None:
    result = run_program(*command, flag)

    assert result.status == 0
    assert result.stdout.startswith(f"Usage: {' '.join(['ws-subprocess', *command])} ")


def test_help_names_every_setting_once_with_its_default() -> None:
    text = " ".join(run_program("serve", "--help").stdout.split())

    for setting in SETTINGS.values():
        default = setting.kind.show(setting.default) or "none"
        shown = re.findall(rf" {setting.flag} .*?default: ([^\]]*)\]", text)
        assert shown == [default], setting.flag


@pytest.mark.parametrize("command", [[], ["serve"], ["run"], ["doctor"], ["token", "hash"]])
def test_help_loads_nothing_heavy(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "ws_subprocess", *command, "--help"],
        env=clean_environ(),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    loaded = {line.rsplit("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert "click" in loaded
    assert not HEAVY_MODULES & loaded
