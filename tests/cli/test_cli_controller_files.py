"""Files that are not fit: the daemon does not start, `config check` does not say ok, and both tell which and why."""

from pathlib import Path

import pytest
from cli_program import run_program

SHORT = {"LAB_KEY": "too-short-to-be-a-key"}


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--controller-url", "https://127.0.0.1/", "--controller-ca", "no.pem"], "controller_ca = 'no.pem': "),
        (["--controller-url", "http://127.0.0.1/", "--controller-ca", "no.pem"], "write https:// in controller_url"),
        (
            ["--controller-url", "https://127.0.0.1/", "--controller-cert", "no.pem", "--controller-key", "no.pem"],
            "controller_cert = 'no.pem', controller_key = 'no.pem': ",
        ),
        (["--controller-hmac-key", "env:LAB_KEY"], "controller_hmac_key: 21 bytes, at least 32"),
        (["--controller-hmac-key", "env:LAB_NONE"], "controller_hmac_key = env:LAB_NONE: the environment has no"),
    ],
)
@pytest.mark.parametrize("command", [["serve", "--listen", "127.0.0.1:0"], ["config", "check"]])
def test_files_for_the_controller_that_are_not_fit_are_told(
    tmp_path: Path, command: list[str], args: list[str], says: str
) -> None:
    (tmp_path / "no.pem").write_text("no PEM\n")

    result = run_program(*command, *args, cwd=str(tmp_path), **SHORT)

    assert result.status == 2
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if "[bad_config]" in line]
    assert says in line
    assert "Traceback" not in result.stderr
    assert SHORT["LAB_KEY"] not in result.stderr


def test_check_tells_what_is_wrong_with_each_file(tmp_path: Path) -> None:
    (tmp_path / "no.pem").write_text("no PEM\n")
    (tmp_path / "tokens.toml").write_text("[[tokens]]\n")
    (tmp_path / "commands.toml").write_text("[[commands]]\n")
    named = ["--tokens-file", "tokens.toml", "--commands-file", "commands.toml", "--tls-cert", "no.pem"]

    result = run_program("config", "check", *named, "--tls-key", "no.pem", cwd=str(tmp_path))

    assert (result.status, result.stdout) == (2, "")
    assert [line.split(": ")[1] for line in result.stderr.splitlines()] == [
        "tokens.toml",
        "commands.toml",
        "commands.toml",
        "tls_cert",
    ]
