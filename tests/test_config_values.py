"""Values of settings: every way to get one wrong, what contradicts what, and the laws of how values are read."""

import math
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ws_subprocess.config.kinds import Bytes, Count, Duration, Switch, quote
from ws_subprocess.config.load import load
from ws_subprocess.config.parse import parse_duration, parse_size
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import SETTINGS, Settings


def problems_of(flags: dict[str, Any], environ: dict[str, str] | None = None) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(flags, environ=environ or {})
    return [str(problem) for problem in caught.value.problems]


WRONG_VALUES = [
    ("controller_timeout_s", "abc"), ("controller_timeout_s", "-1"), ("controller_timeout_s", "nan"),
    ("controller_timeout_s", "inf"), ("controller_timeout_s", "0"), ("controller_timeout_s", "61"),
    ("controller_timeout_s", "1e1"), ("controller_timeout_s", "5 m"), ("controller_timeout_s", ""),
    ("controller_timeout_s", "٥"), ("controller_timeout_s", "9" * 400), ("controller_timeout_s", "1d"),
    ("drain_timeout_s", "3601"), ("drain_timeout_s", "-0.1"),
    ("handshake_timeout_s", "99ms"), ("ping_interval_s", "0"), ("ping_timeout_s", "2h"),
    ("max_sessions", "0"), ("max_sessions", "-5"), ("max_sessions", "100001"), ("max_sessions", "1.5"),
    ("max_sessions", "1_000"), ("max_sessions", "many"), ("max_sessions", "9" * 5000),
    ("ring_bytes", "1XB"), ("ring_bytes", "1MB"), ("ring_bytes", "1.5MiB"), ("ring_bytes", "-1"),
    ("ring_bytes", "65535"), ("ring_bytes", "65MiB"), ("window_bytes", "16383"), ("max_message_bytes", "0"),
    ("input_bytes", "1"),
    ("compression", "maybe"), ("metrics", "everyone"), ("log_format", "xml"), ("log_level", "loud"),
    ("tls_cert", "a\0b"), ("unix_mode", "0888"), ("unix_mode", "rw"), ("unix_mode", "07777"),
    ("base_path", "x"), ("base_path", "/../x"), ("base_path", "/a/./b"), ("base_path", "//a"), ("base_path", "/a b"),
    ("base_path", "/a?b"), ("base_path", "/a//"),
    ("controller_url", "ftp://h/"), ("controller_url", "http://"), ("controller_url", "http:///x"),
    ("controller_url", "127.0.0.1/x"), ("controller_url", "http://h/#x"), ("controller_url", "http://h/#"),
    ("controller_url", "http://h:70000/"), ("controller_url", "http://h:0/"), ("controller_url", "http://h:x/"),
    ("controller_url", "http://[::1/"), ("controller_url", "http://[zz]/"), ("controller_url", "http://h/a b"),
    ("controller_url", "http://h/\n"), ("controller_url", "http://u@h/"), ("controller_url", "http://h/?token=1"),
    ("allow_origins", "*"), ("allow_origins", "https://*.example"), ("allow_origins", "https://a.example/"),
    ("allow_origins", "https://a.example/x"), ("allow_origins", "a.example"), ("allow_origins", "null"),
    ("allow_origins", "https://"), ("allow_origins", "https://a.example:0"), ("allow_origins", "https://u@a.example"),
    ("allow_origins", "https://bücher.example"),
    ("allow_hosts", "a.example:80"), ("allow_hosts", "http://a.example"), ("allow_hosts", "*.example"),
    ("allow_hosts", "."), ("allow_hosts", "-a.example"), ("allow_hosts", "a..b"),
    ("trusted_proxies", "10.0.0.1/8"), ("trusted_proxies", "proxy"), ("trusted_proxies", "10.0.0.0/33"),
    ("max_sessions_per_principal", "-1"), ("max_handshakes_per_address", "10001"), ("max_waiting", "15"),
    ("max_waiting_per_address", "0"), ("controller_max_questions", "0"), ("jwt_leeway_s", "301"),
    ("jwt_max_lifetime_s", "0"), ("jwt_audience", "a b"), ("jwt_issuer", "é"), ("jwt_type", "x" * 1025),
    ("jwt_jwks_url", "ftp://h/"), ("allow_commands", "true"), ("allow_commands", "/a/../b"), ("allow_cwds", "."),
    ("allow_users", "0"), ("user", "0"), ("user", "a b"), ("group", "-x"), ("audit_log", "a\nb"),
    ("listen", ""), ("listen", "127.0.0.1:99999"), ("listen", "127.0.0.1:abc"), ("listen", "[::1"), ("listen", ","),
    ("process_listen", "127.0.0.1:abc"),
]  # fmt: skip


@pytest.mark.parametrize(("key", "text"), WRONG_VALUES)
def test_a_wrong_value_is_refused_with_key_value_source_and_code(key: str, text: str) -> None:
    variable = SETTINGS[key].variable

    (problem,) = problems_of({}, {variable: text})

    code = "bad_listen" if key in ("listen", "process_listen") else "bad_value"
    assert problem.startswith(f"environment {variable}: {key} = ")
    assert quote(text)[:20] in problem
    assert problem.endswith(f" [{code}]")


def test_a_wrong_flag_names_the_flag() -> None:
    (problem,) = problems_of({"drain_timeout_s": "abc"})

    assert problem == (
        "--drain-timeout: drain_timeout_s = 'abc': not a duration; "
        "write seconds (5, 0.5) or 500ms, 10s, 5m, 1h [bad_value]"
    )


def test_of_many_values_the_wrong_one_is_named() -> None:
    (problem,) = problems_of({"allow_hosts": ("a.example", "b.example:80")})

    assert "'b.example:80': not a host name" in problem


def test_a_password_in_a_url_is_not_repeated() -> None:
    (problem,) = problems_of({"controller_url": "http://me:secret@h/"})

    assert "secret" not in problem
    assert "'http://***@h/'" in problem
    assert quote("postgresql://me:s@cret@h/jobs?mail=a@b.example") == "'postgresql://***@h/jobs?mail=a@b.example'"


def test_a_value_cannot_break_the_line_of_its_error() -> None:
    (problem,) = problems_of({"metrics": "x\n\x1b[2J"})

    assert problem.isprintable()


def test_a_window_above_half_the_ring_is_refused_and_names_both() -> None:
    (problem,) = problems_of({"ring_bytes": "256KiB", "window_bytes": "129KiB"})

    assert "window_bytes = 129KiB: more than half of ring_bytes = 256KiB" in problem


def test_a_window_of_half_the_ring_is_fine() -> None:
    assert load({"ring_bytes": "256KiB", "window_bytes": "128KiB"}, environ={}).settings.window_bytes == 131_072


def test_a_wrong_ring_is_not_also_reported_as_too_small_for_the_window() -> None:
    (problem,) = problems_of({"ring_bytes": "1XB", "window_bytes": "32MiB"})

    assert "1XB" in problem


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:1", "192.0.2.7:1", "host.example:1", "[::ffff:192.0.2.7]:1"])
def test_listening_beyond_this_machine_has_to_be_asked_for(address: str) -> None:
    (problem,) = problems_of({"listen": ("127.0.0.1:1", address)})

    assert problem.startswith(f"--listen: listen = '{address}': ")
    assert problem.endswith("or say insecure_listen [insecure_listen]")


def test_so_has_listening_for_one_door_alone() -> None:
    (problem,) = problems_of({"process_listen": ("127.0.0.1:1", "0.0.0.0:1")})

    assert problem.startswith("--process-listen: process_listen = '0.0.0.0:1': ")
    assert problem.endswith("or say insecure_listen [insecure_listen]")


@pytest.mark.parametrize(
    "idle", [{"controller_socket": "/run/app.sock"}, {"controller_hmac_key": "env:KEY"}, {"token_once": True}]
)
def test_what_is_set_for_an_authority_that_is_not_asked_is_refused(idle: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "tokens").touch()
    static = {"tokens_file": f"{tmp_path}/tokens"}

    (problem,) = problems_of({**static, **idle})

    assert "of no use" in problem
    assert load({**static, **idle, "controller_url": "http://127.0.0.1/"}, environ={}).settings.controller_url
    assert load(idle, environ={}).settings.controller_url == ""


@pytest.mark.parametrize("proxies", [("127.0.0.1",), ("127.0.0.0/8", "::1", "unix")])
def test_a_proxy_on_this_machine_is_no_reason_to_listen_beyond_it(proxies: tuple[str, ...]) -> None:
    (problem,) = problems_of({"listen": ("0.0.0.0:1",), "trusted_proxies": proxies})

    assert problem.endswith("[insecure_listen]")


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "localhost:1", "unix:/x", "fd:3", "systemd"]
)
def test_listening_on_this_machine_needs_nothing(address: str) -> None:
    assert load({"listen": (address,)}, environ={}).settings.listen == (address,)


@pytest.mark.parametrize("why", [{"insecure_listen": True}, {"trusted_proxies": ("10.0.0.1",)}])
def test_listening_beyond_this_machine_may_be_asked_for(why: dict[str, Any]) -> None:
    assert load({"listen": ("0.0.0.0:1",), **why}, environ={}).settings.listen == ("0.0.0.0:1",)


@pytest.mark.parametrize("keys", [{"jwt_keys": ("HS256:env:KEY",)}, {"jwt_jwks_url": "https://issuer.example/keys"}])
def test_signed_tokens_must_be_meant_for_somebody(keys: dict[str, Any]) -> None:
    problems = problems_of(keys, {"KEY": "k" * 32})

    assert [problem for problem in problems if "of no use without jwt_audience" in problem]


@pytest.mark.parametrize(
    ("given_key", "missing"),
    [
        ("tls_cert", "tls_key"),
        ("tls_key", "tls_cert"),
        ("controller_cert", "controller_key"),
        ("controller_key", "controller_cert"),
    ],
)
def test_half_a_tls_pair_is_refused(given_key: str, missing: str, tmp_path: Path) -> None:
    file = tmp_path / "pem"
    file.touch()

    (problem,) = problems_of({given_key: str(file)})

    assert f"give {missing} too" in problem


def test_tls_files_that_do_not_exist_are_each_named(tmp_path: Path) -> None:
    problems = problems_of({"tls_cert": str(tmp_path / "cert"), "tls_key": str(tmp_path / "key")})

    assert [problem.split(":")[0] for problem in problems] == ["--tls-cert", "--tls-key"]
    assert all("cannot be read: No such file or directory" in problem for problem in problems)


@pytest.mark.parametrize("key", ["tokens_file", "controller_ca"])
def test_a_fifo_in_place_of_a_file_is_refused_at_once(key: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    (problem,) = problems_of({key: f"{tmp_path}/pipe"})

    assert "not a regular file; name the file itself" in problem


def test_settings_built_in_python_are_checked_too() -> None:
    with pytest.raises(ValueError, match=r"base_path = 'x': not a base path.*; max_sessions = 0: not in 1 to 100000"):
        Settings(max_sessions=0, base_path="x")


@pytest.mark.parametrize("secret", [{"controller_hmac_key": "s3cret"}, {"jwt_keys": ("HS256:s3cret",)}])
def test_a_secret_in_settings_built_in_python_is_not_repeated(secret: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="write") as caught:
        Settings(**secret)

    assert "s3cret" not in str(caught.value)


def test_settings_built_in_python_must_not_contradict_each_other() -> None:
    with pytest.raises(ValueError, match="more than half of ring_bytes"):
        Settings(window_bytes=1024 * 1024)


def test_settings_built_in_python_are_in_normal_form() -> None:
    settings = Settings(base_path="/a/", allow_origins=("HTTPS://A.example:443",))

    assert (settings.base_path, settings.allow_origins) == ("/a", ("https://a.example",))


KINDS = [Duration(0, 3600), Bytes(0, 2**40), Count(-10, 10**9), Switch()]
VALUES = st.one_of(
    st.tuples(st.just(KINDS[0]), st.floats(0, 3600)),
    st.tuples(st.just(KINDS[1]), st.integers(0, 2**40)),
    st.tuples(st.just(KINDS[2]), st.integers(-10, 10**9)),
    st.tuples(st.just(KINDS[3]), st.booleans()),
)


@given(VALUES)
def test_what_is_shown_reads_back_as_the_same_value(kind_and_value: tuple[Any, Any]) -> None:
    kind, value = kind_and_value
    normal = kind.check(value)

    assert kind.read(kind.show(normal)) == normal
    assert kind.check(normal) == normal


@pytest.mark.parametrize("key", SETTINGS)
def test_a_default_reads_back_from_what_is_shown(key: str) -> None:
    setting = SETTINGS[key]

    assert setting.kind.read(setting.kind.show(setting.default)) == setting.default


@given(st.integers(0, 10**6), st.sampled_from([("ms", 0.001), ("s", 1), ("m", 60), ("h", 3600), ("", 1)]))
def test_a_duration_is_its_number_times_its_unit(number: int, unit: tuple[str, float]) -> None:
    assert math.isclose(parse_duration(f"{number}{unit[0]}"), number * unit[1])


@given(st.integers(0, 10**6), st.sampled_from([("", 1), ("B", 1), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30)]))
def test_a_size_is_its_number_times_its_unit(number: int, unit: tuple[str, int]) -> None:
    assert parse_size(f"{number}{unit[0]}") == number * unit[1]


@given(st.sampled_from(sorted(SETTINGS)), st.text())
@example("controller_url", "http://[")
@example("allow_origins", "http://[::%]")
def test_any_text_is_read_to_a_normal_form_or_refused(key: str, text: str) -> None:
    kind = SETTINGS[key].kind
    try:
        value = kind.read(text)
    except ValueError:
        return
    assert kind.check(value) == value
    assert kind.read(kind.show(value)) == value
