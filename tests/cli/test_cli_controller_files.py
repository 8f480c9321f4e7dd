"""Files for the controller that are not fit: the daemon does not start, and says which setting and why."""

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
def test_a_daemon_with_files_that_are_not_fit_does_not_start(tmp_path: Path, args: list[str], says: str) -> None:
    (tmp_path / "no.pem").write_text("no PEM\n")

    result = run_program("serve", "--listen", "127.0.0.1:0", *args, cwd=str(tmp_path), **SHORT)

    assert result.status == 2
    assert result.stdout == ""
    (line,) = [line for line in result.stderr.splitlines() if "[bad_config]" in line]
    assert says in line
    assert "Traceback" not in result.stderr
    assert SHORT["LAB_KEY"] not in result.stderr
