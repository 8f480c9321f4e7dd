"""Secrets are named, never written out, and are read from where nobody else can."""

import os
from pathlib import Path
from typing import Any

import pytest

from ws_subprocess.config.load import load
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.secrets import MAX_BYTES, parse_key, parse_secret, read_secret, split_key

NO_NAMES = ["s3cret-s3cret", "env:A-B", "env:", "file:", "file:/a\0b", "FILE:/a", "-----BEGIN PRIVATE KEY-----"]


@pytest.mark.parametrize("text", ["", "env:KEY", "env:_k1", "file:/etc/key", "file:relative key"])
def test_a_name_of_a_secret_is_taken_as_it_is(text: str) -> None:
    assert parse_secret(text) == text


@pytest.mark.parametrize("text", NO_NAMES)
def test_what_is_no_name_of_a_secret_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="write file:/path/of/it or env:NAME") as caught:
        parse_secret(text)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("HS256:env:KEY", ("", "HS256", "env:KEY")),
        ("k.1=ES256:file:/a:b=c", ("k.1", "ES256", "file:/a:b=c")),
    ],
)
def test_a_name_of_a_key_has_an_algorithm_and_may_have_an_id(text: str, parts: tuple[str, str, str]) -> None:
    assert split_key(parse_key(text)) == parts


@pytest.mark.parametrize(
    "text", ["", "env:KEY", "HS256", "HS256:s3cret", "=HS256:env:A", "a b=HS256:env:A", "HS256:env:1"]
)
def test_what_is_no_name_of_a_key_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="write ") as caught:
        parse_key(text)

    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("key", "raw"),
    [
        ("controller_hmac_key", "s3cret"),
        ("controller_hmac_key", "env:9s3cret"),
        ("jwt_keys", ("HS256:s3cret",)),
        ("jwt_keys", ("HS256:env:9s3cret",)),
    ],
)
def test_a_secret_on_the_command_line_is_refused_and_not_repeated(key: str, raw: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load({key: raw}, environ={})

    (problem,) = caught.value.problems
    assert problem.code == "secret_in_argv"
    assert "s3cret" not in str(problem)


def test_the_environment_gives_a_secret() -> None:
    assert read_secret("env:KEY", {"KEY": "s3cret"}) == b"s3cret"


@pytest.mark.parametrize("environ", [{}, {"KEY": ""}])
def test_a_variable_that_is_not_set_is_named(environ: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="the environment has no KEY; set it"):
        read_secret("env:KEY", environ)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    path.write_bytes(b"s3cret\n")
    path.chmod(0o600)
    return path


def test_a_file_gives_a_secret_without_the_newline_of_its_last_line(file: Path) -> None:
    assert read_secret(f"file:{file}", {}) == b"s3cret"

    file.write_bytes("gehe\u00efm\r\n".encode())
    assert read_secret(f"file:{file}", {}) == "gehe\u00efm".encode()


@pytest.mark.parametrize("content", [b"\x00\x01\n", b"\xff\xfe\n", b"s3\ncret\n\n"])
def test_what_is_no_line_of_text_is_taken_to_the_last_byte(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    assert read_secret(f"file:{file}", {}) == content


@pytest.mark.parametrize("mode", [0o604, 0o602, 0o666])
def test_a_file_that_anyone_may_read_or_write_holds_no_secret(file: Path, mode: int) -> None:
    file.chmod(mode)

    with pytest.raises(ValueError, match="anyone may read or write it"):
        read_secret(f"file:{file}", {})


def test_a_public_key_may_be_read_by_all_and_written_by_us(file: Path) -> None:
    file.chmod(0o644)
    assert read_secret(f"file:{file}", {}, is_public=True) == b"s3cret"

    file.chmod(0o646)
    with pytest.raises(ValueError, match="anyone may"):
        read_secret(f"file:{file}", {}, is_public=True)


@pytest.mark.parametrize("content", [b"", b"x" * (MAX_BYTES + 1)], ids=["empty", "huge"])
def test_a_file_without_a_secret_or_with_too_much_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)

    with pytest.raises(ValueError, match="empty, or larger than"):
        read_secret(f"file:{file}", {})


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)

    with pytest.raises(ValueError, match="not a regular file"):
        read_secret(f"file:{tmp_path}/pipe", {})
    with pytest.raises(ValueError, match="Is a directory"):
        read_secret(f"file:{tmp_path}", {})
    with pytest.raises(ValueError, match="No such file"):
        read_secret(f"file:{tmp_path}/none", {})
