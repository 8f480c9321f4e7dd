"""Settings about signed tokens: what cannot work is said before the daemon starts; and where used tokens are kept."""

import os
from pathlib import Path
from typing import Any

import pytest
from signing import SECRET, private_pem, public_pem

from ws_subprocess.config.load import load
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.settings import Settings
from ws_subprocess.config.state import find_state_dir


def write_key(tmp_path: Path, data: bytes, mode: int = 0o600, name: str = "key") -> str:
    path = tmp_path / name
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def find_problems(*keys: str, **environ: str) -> list[Problem]:
    try:
        load({"jwt_keys": list(keys), "jwt_audience": "a"}, environ=environ)
    except ConfigError as exc:
        return list(exc.problems)
    return []


def test_fit_keys_are_taken_from_files_and_from_the_environment(tmp_path: Path) -> None:
    secret, public = write_key(tmp_path, SECRET), write_key(tmp_path, public_pem("P-256"), 0o644, "public")

    assert find_problems(f"HS256:file:{secret}", f"a=ES256:file:{public}", "b=HS512:env:KEY", KEY="k" * 64) == []


@pytest.mark.parametrize(
    ("algorithm", "data", "mode", "text"),
    [
        ("HS256", b"", 0o600, "empty, or larger than 65536 bytes"),
        ("HS256", b"k" * 31 + b"\n", 0o600, "jwt key too short: 31 bytes, HS256 needs at least 32"),
        ("HS512", SECRET[:63], 0o600, "jwt key too short: 63 bytes, HS512 needs at least 64"),
        ("RS256", public_pem("rsa-1024"), 0o600, "jwt key too short: 1024 bits, RS256 needs at least 2048"),
        ("HS256", SECRET, 0o604, "anyone may read or write it"),
        ("ES256", public_pem("P-256"), 0o646, "anyone may read or write it"),
        ("HS256", public_pem("rsa"), 0o600, "no secret but a key or certificate of another kind"),
        ("RS256", private_pem("rsa"), 0o600, "a private key, which only the issuer may have"),
        ("ES256", public_pem("P-384"), 0o644, "a key of another kind than ES256 needs"),
        ("none", SECRET, 0o600, "none is no algorithm for tokens"),
    ],
)
def test_a_key_that_is_no_good_is_refused_by_its_name(
    tmp_path: Path, algorithm: str, data: bytes, mode: int, text: str
) -> None:
    path = write_key(tmp_path, data, mode)

    (problem,) = find_problems(f"{algorithm}:file:{path}")

    assert (problem.origin, problem.code) == ("--jwt-key", "bad_config")
    assert problem.text.startswith(f"jwt_keys = {algorithm}:file:{path}: {text}")


def test_a_key_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (from_file,) = find_problems(f"HS256:file:{tmp_path}/none")
    (from_environment,) = find_problems("HS256:env:NONE")

    assert "cannot be read: No such file or directory" in from_file.text
    assert from_environment.text == "jwt_keys = HS256:env:NONE: the environment has no NONE; set it"


def test_two_keys_of_one_name_are_refused() -> None:
    (problem,) = find_problems("k=HS256:env:A", "k=HS256:env:B", A="a" * 32, B="b" * 32)

    assert problem.text == "jwt_keys = k=HS256:env:B: another key has the kid 'k'; give each its own"


def test_a_key_itself_is_refused_and_not_repeated() -> None:
    (problem,) = find_problems("HS256:s3cret-s3cret-s3cret-s3cret-s3cret")

    assert problem.code == "secret_in_argv"
    assert "s3cret" not in str(problem)


@pytest.mark.parametrize(
    "url",
    [
        "https://id.example/keys",
        "http://127.0.0.1:8080/k",
        "http://localhost/k",
        "http://[::1]/k",
        "HTTPS://x.example/",
    ],
)
def test_keys_are_fetched_with_tls_or_from_this_machine(url: str) -> None:
    assert Settings(jwt_jwks_url=url, jwt_audience="a").jwt_jwks_url


@pytest.mark.parametrize(
    "url", ["http://id.example/keys", "http://10.0.0.1/k", "http://localhost.example/", "HTTP://x.example/"]
)
def test_keys_are_not_fetched_where_somebody_could_sit_between(url: str) -> None:
    with pytest.raises(ValueError, match=r"jwt_jwks_url = .*; use https://, or http:// on this machine"):
        Settings(jwt_jwks_url=url, jwt_audience="a")


@pytest.mark.parametrize(
    ("environ", "uid", "folder"),
    [
        ({"STATE_DIRECTORY": "/var/lib/x"}, 0, "/var/lib/x"),
        ({"STATE_DIRECTORY": "/var/lib/x:/var/lib/y", "XDG_STATE_HOME": "/s"}, 1000, "/var/lib/x"),
        ({"STATE_DIRECTORY": "", "XDG_STATE_HOME": "/s"}, 0, "/s/ws-subprocess"),
        ({"XDG_STATE_HOME": "/s"}, 1000, "/s/ws-subprocess"),
        ({"XDG_STATE_HOME": "s", "HOME": "/home/a"}, 1000, "/home/a/.local/state/ws-subprocess"),
        ({"HOME": "/home/a"}, 1000, "/home/a/.local/state/ws-subprocess"),
        ({}, 0, "/var/lib/ws-subprocess"),
    ],
)
def test_used_tokens_are_kept_where_the_system_expects_it(environ: dict[str, Any], uid: int, folder: str) -> None:
    assert find_state_dir(environ, uid) == folder


def test_the_folder_of_this_very_account_is_an_absolute_path() -> None:
    assert os.path.isabs(find_state_dir())
    assert os.path.isabs(find_state_dir({}, 1000))
