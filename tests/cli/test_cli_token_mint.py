"""`token mint` and `token inspect`, through the real program: what the one makes the other finds good."""

import base64
import json
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from cli_program import DEADLINE_S, PROGRAM, Result, clean_environ, run_program
from signing import SECRET, forge, good_claims, private_pem, public_pem

from ws_subprocess.cli import token_inspect
from ws_subprocess.errors import REASONS

KINDS = {"secret": "HS256", "rsa": "RS256", "P-256": "ES256", "P-384": "ES384", "P-521": "ES512", "ed25519": "EdDSA"}

ALLOW = '[{"door": "exec", "command": "/bin/echo"}]'


@pytest.fixture
def key(tmp_path: Path) -> str:
    return write_key(tmp_path, SECRET)


def write_key(tmp_path: Path, data: bytes, name: str = "key", mode: int = 0o600) -> str:
    path = tmp_path / name
    path.write_bytes(data)
    path.chmod(mode)
    return str(path)


def mint(key: str, *args: str, **variables: str) -> str:
    result = run_program("token", "mint", "--key", key, "--audience", "here", *args, **variables)
    assert (result.status, result.stderr) == (0, "")
    assert result.stdout.count("\n") == 1
    return result.stdout.rstrip("\n")


def refuse(*args: str, **variables: str) -> str:
    result = run_program("token", "mint", *args, **variables)
    assert (result.status, result.stdout) == (2, "")
    return result.stderr


def inspect(token: str, *args: str, **variables: str) -> Result:
    done = subprocess.run(
        [*PROGRAM, "token", "inspect", *args],
        env=clean_environ(**variables),
        input=token,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return Result(done.returncode, done.stdout, done.stderr)


def read_part(token: str, index: int) -> dict[str, Any]:
    part = token.split(".")[index]
    fields: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=="))
    return fields


def test_a_token_has_what_was_asked_for(key: str) -> None:
    before = int(time.time())
    token = mint(
        key, "--kid", "k1", "--issuer", "me", "--subject", "you", "--lifetime", "5m", "--title", "Lab", "--cwd", "/tmp",
        "--read-only", "--claim", "max_lifetime_s=600", "--claim", 'env={"A":"b"}', "--", "/bin/bash", "-l", "--key",
    )  # fmt: skip

    claims = read_part(token, 1)
    assert read_part(token, 0) == {"alg": "HS256", "typ": "JWT", "kid": "k1"}
    assert before <= claims["iat"] <= time.time()
    assert claims.pop("exp") == claims.pop("iat") + 300
    assert len(claims.pop("jti")) >= 16
    assert claims == {
        "iss": "me", "sub": "you", "aud": "here", "command": "/bin/bash", "args": ["-l", "--key"], "title": "Lab",
        "cwd": "/tmp", "read_only": True, "max_lifetime_s": 600, "env": {"A": "b"},
    }  # fmt: skip


def test_a_token_has_nothing_that_was_not_asked_for(key: str) -> None:
    claims = read_part(mint(key, "--not-once", "--", "/bin/true"), 1)

    assert claims.keys() == {"aud", "iat", "exp", "command"}
    assert claims["exp"] - claims["iat"] == 60


def test_no_two_tokens_have_the_same_jti(key: str) -> None:
    assert read_part(mint(key, "--", "/bin/true"), 1)["jti"] != read_part(mint(key, "--", "/bin/true"), 1)["jti"]


@pytest.mark.parametrize(("kind", "algorithm"), KINDS.items())
def test_each_kind_of_key_signs_what_its_public_half_verifies(tmp_path: Path, kind: str, algorithm: str) -> None:
    private = write_key(tmp_path, SECRET if kind == "secret" else private_pem(kind))
    public = private if kind == "secret" else write_key(tmp_path, public_pem(kind), "public", 0o644)

    token = mint(private, "--", "/bin/true")

    assert read_part(token, 0)["alg"] == algorithm
    for verifier in (public, private):
        result = inspect(token, "--key", verifier, "--audience", "here")
        assert (result.status, result.stdout.splitlines()[-1]) == (0, "valid")


def test_another_algorithm_of_the_key_may_be_chosen(tmp_path: Path) -> None:
    private = write_key(tmp_path, private_pem("rsa"))
    token = mint(private, "--alg", "PS512", "--", "/bin/true")

    assert inspect(token, "--key", private, "--alg", "PS512", "--audience", "here").status == 0
    assert "jwt_alg" in inspect(token, "--key", private, "--audience", "here").stdout


def test_the_key_may_come_from_the_environment() -> None:
    token = mint("env:KEY", "--", "/bin/true", KEY=SECRET.decode())

    assert inspect(token, "--key", "env:KEY", "--audience", "here", KEY=SECRET.decode()).status == 0


def test_audience_issuer_and_type_come_from_the_daemons_settings(key: str) -> None:
    settings = {
        "WS_SUBPROCESS_JWT_AUDIENCE": "there",
        "WS_SUBPROCESS_JWT_ISSUER": "https://id.example",
        "WS_SUBPROCESS_JWT_TYPE": "terminal+jwt",
        "WS_SUBPROCESS_JWT_KEYS": f"HS256:file:{key}",
    }

    result = run_program("token", "mint", "--key", key, "--", "/bin/true", **settings)

    claims = read_part(result.stdout, 1)
    assert (claims["aud"], claims["iss"]) == ("there", "https://id.example")
    assert read_part(result.stdout, 0)["typ"] == "terminal+jwt"
    verdict = inspect(result.stdout, **settings)
    assert (verdict.status, verdict.stdout.splitlines()[-1]) == (0, "valid")


@pytest.mark.parametrize(
    ("args", "text"),
    [
        (["--", "bash"], "the daemon would refuse it: command: 'bash' is not an absolute path"),
        ([], "COMMAND: none given; write it at the end"),
        (["--lifetime", "2h", "--", "/bin/true"], "the daemon would refuse it: exp - iat: 7200 s is not in 1..3600"),
        (["--lifetime", "soon", "--", "/bin/true"], "--lifetime: not a duration"),
        (["--claim", "env={\"LD_PRELOAD\":\"x\"}", "--", "/bin/true"], "env LD_PRELOAD: may not be set by a grant"),
        (["--claim", "user=me", "--", "/bin/true"], "--claim: user: its value is no JSON; write user=5"),
        (["--alg", "ES256", "--", "/bin/true"], "ES256 signs with a private key (PEM)"),
        (["--claim", 'command=""', "--claim", f"allow={ALLOW}"], "command: '' is not an absolute path"),
        (["--", "/bin/true", "x" * 9000], "bytes, which no door takes; at most 8192"),
    ],
)  # fmt: skip
def test_what_the_daemon_would_refuse_is_not_made(key: str, args: list[str], text: str) -> None:
    assert text in refuse("--key", key, "--audience", "here", *args)


def test_a_token_for_nobody_is_not_made(key: str) -> None:
    assert "--audience: none given, and no jwt_audience" in refuse("--key", key, "--", "/bin/true")


def test_a_token_for_another_daemon_than_that_of_the_settings_is_not_made(key: str) -> None:
    stderr = refuse("--key", key, "--audience", "x", "--", "/bin/true", WS_SUBPROCESS_JWT_AUDIENCE="here")

    assert "aud: not here" in stderr


@pytest.mark.parametrize(
    ("data", "mode", "text"),
    [
        (SECRET[:31], 0o600, "jwt key too short: 31 bytes, HS256 needs at least 32"),
        (private_pem("rsa-1024"), 0o600, "jwt key too short: 1024 bits, RS256 needs at least 2048"),
        (SECRET, 0o644, "anyone may read or write it"),
        (private_pem("P-256"), 0o644, "anyone may read or write it"),
        (public_pem("P-256"), 0o600, "no secret but a key or certificate of another kind"),
    ],
)
def test_a_key_that_is_no_good_signs_nothing(tmp_path: Path, data: bytes, mode: int, text: str) -> None:
    assert text in refuse("--key", write_key(tmp_path, data, mode=mode), "--audience", "here", "--", "/bin/true")


def test_a_key_on_the_command_line_is_not_repeated() -> None:
    stderr = refuse("--key", SECRET.decode(), "--audience", "here", "--", "/bin/true")

    assert "--key: cannot be read" in stderr
    assert SECRET.decode() not in stderr


def test_a_token_that_leaves_the_command_to_the_client_can_be_made(key: str) -> None:
    token = mint(key, "--claim", f"allow={ALLOW}")

    assert json.dumps(read_part(token, 1)["allow"]) == ALLOW
    assert "out of allow" in inspect(token, "--key", key).stdout


def test_a_key_that_is_given_is_the_one_that_the_token_names(key: str) -> None:
    assert inspect(mint(key, "--kid", "k1", "--", "/bin/true"), "--key", key, "--audience", "here").status == 0


def test_inspect_tells_what_a_token_says_in_words(key: str) -> None:
    result = inspect(mint(key, "--subject", "you", "--", "/bin/bash", "-l"), "--key", key, "--audience", "here")

    lines = [line.strip() for line in result.stdout.splitlines()]
    assert '"sub": "you"' in lines
    assert 'runs      ["/bin/bash", "-l"]' in lines
    assert "counts    once: its jti is remembered" in lines
    assert [line for line in lines if line.startswith("expires   in ")]
    assert lines[-1] == "valid"


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ("no token", "jwt_format"),
        (forge(claims=good_claims(iat=1, exp=61)), "jwt_expired"),
        (forge(claims=good_claims(iat=2_000_000_000, exp=2_000_000_060)), "jwt_not_yet"),
        (forge(claims=good_claims(exp="x")), "jwt_claims"),
        (forge({"alg": "HS256", "jku": "x"}), "jwt_header"),
        (forge()[:-4] + "AAAA", "jwt_signature"),
    ],
)
def test_inspect_tells_why_a_token_is_not_valid(key: str, token: str, reason: str) -> None:
    result = inspect(token, "--key", key, "--audience", "terminals")

    assert (result.status, result.stderr) == (1, "")
    assert result.stdout.splitlines()[-1].startswith("not valid: ")
    assert f"[{reason}: " in result.stdout.splitlines()[-1]


@pytest.mark.parametrize("length", [8193, 100_000])
def test_inspect_tells_of_a_token_that_no_door_takes(key: str, length: int) -> None:
    result = inspect(forge(good_claims(title="x" * length)), "--key", key)

    assert (result.status, result.stderr) == (1, "")
    assert result.stdout == "not valid: longer than 8192 bytes, which no door takes [token_too_long]\n"


def test_inspect_has_words_for_every_reason() -> None:
    assert {reason for reason in REASONS if reason.startswith("jwt_")} | {
        "gate_unavailable"
    } == token_inspect.REASONS.keys()


def test_inspect_without_any_key_does_not_call_a_token_valid(key: str) -> None:
    result = inspect(mint(key, "--", "/bin/true"))

    assert result.status == 2
    assert "it is not verified" in result.stderr
    assert '"command": "/bin/true"' in result.stdout


def test_nothing_of_a_token_reaches_the_terminal_unescaped(key: str) -> None:
    evil = "\x1b]0;evil\x07\u202e\x9b"
    token = forge({"alg": "HS256", "kid": evil}, good_claims(command=evil, title=evil, **{evil: evil}))

    result = inspect(token, "--key", key)

    assert result.status == 1
    assert result.stdout.replace("\n", "").isprintable()


async def test_no_token_is_taken_from_the_command_line(key: str) -> None:
    result = run_program("token", "inspect", forge(), "--key", key)

    assert result.status == 2
