"""Settings: precedence and origin of every one, every way to get one wrong, and the laws of how values are read."""

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from config_samples import SAMPLES, Sample

from ws_subprocess.config.file import MAX_BYTES, key_lines
from ws_subprocess.config.load import Loaded, load
from ws_subprocess.config.problems import ConfigError
from ws_subprocess.config.settings import SETTINGS, Settings

WriteFile = Callable[..., str]


# Their files have to be there, and some of them only make sense in pairs.
PARTNERS = dict.fromkeys(("jwt_keys", "jwt_jwks_url"), 'jwt_audience = "a"')
PAIRS = (("tls_cert", "tls_key"), ("controller_cert", "controller_key"))
FILES = (*PAIRS[0], *PAIRS[1], "controller_ca", "tokens_file", "commands_file")


@pytest.fixture
def write_file(tmp_path: Path) -> WriteFile:
    def write(content: str | bytes, mode: int = 0o644) -> str:
        path = tmp_path / "ws.toml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        path.chmod(mode)
        return str(path)

    return write


def load_from(file: str | None = None, environ: Mapping[str, str] | None = None, **flags: Any) -> Loaded:
    return load(flags, file, {"KEY": "k" * 64, **(environ or {})})


def problems_of(file: str | None = None, environ: Mapping[str, str] | None = None, **flags: Any) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_from(file, environ, **flags)
    return [str(problem) for problem in caught.value.problems]


# Where values come from.


def test_every_setting_has_a_sample() -> None:
    assert {*SAMPLES, *FILES} == set(SETTINGS)


@pytest.mark.parametrize("key", SETTINGS)
def test_a_default_is_valid_and_says_that_it_is_one(key: str) -> None:
    loaded = load_from()

    assert getattr(loaded.settings, key) == SETTINGS[key].default
    assert loaded.origins[key] == "default"


@pytest.mark.parametrize(("key", "sample"), SAMPLES.items())
def test_a_file_overrides_the_default(key: str, sample: Sample, write_file: WriteFile) -> None:
    path = write_file(f"# first\n{key} = {sample.toml}\n{PARTNERS.get(key, '')}")

    loaded = load_from(path)

    assert getattr(loaded.settings, key) == sample.values[0]
    assert loaded.origins[key] == f"{path}:2"


@pytest.mark.parametrize(("key", "sample"), SAMPLES.items())
def test_the_environment_overrides_a_file(key: str, sample: Sample, write_file: WriteFile) -> None:
    variable = f"WS_SUBPROCESS_{key.upper()}"

    loaded = load_from(write_file(f"{key} = {sample.toml}\n{PARTNERS.get(key, '')}"), {variable: sample.text})

    assert getattr(loaded.settings, key) == sample.values[1]
    assert loaded.origins[key] == f"environment {variable}"


@pytest.mark.parametrize(("key", "sample"), SAMPLES.items())
def test_a_flag_overrides_the_environment(key: str, sample: Sample, write_file: WriteFile) -> None:
    environ = {f"WS_SUBPROCESS_{key.upper()}": sample.text}

    loaded = load_from(write_file(f"{key} = {sample.toml}\n{PARTNERS.get(key, '')}"), environ, **{key: sample.flag})

    assert getattr(loaded.settings, key) == sample.values[2]
    assert loaded.origins[key] == SETTINGS[key].flag


@pytest.mark.parametrize("key", FILES)
def test_a_file_is_taken_from_file_environment_and_flag_in_turn(
    key: str, tmp_path: Path, write_file: WriteFile
) -> None:
    a, b, c = (str(tmp_path / name) for name in "abc")
    for path in (a, b, c):
        Path(path).touch()
    partner = "".join(f"{other} = '{a}'\n" for pair in PAIRS for other in pair if key in pair and other != key)
    config = write_file(f"{key} = '{a}'\n{partner}")
    environ = {SETTINGS[key].variable: b}

    loaded = [load_from(config), load_from(config, environ), load_from(config, environ, **{key: c})]

    assert [getattr(item.settings, key) for item in loaded] == [a, b, c]
    assert [item.origins[key] for item in loaded] == [
        f"{config}:1", f"environment {SETTINGS[key].variable}", SETTINGS[key].flag,
    ]  # fmt: skip


def test_the_environment_may_name_the_file(write_file: WriteFile) -> None:
    loaded = load_from(None, {"WS_SUBPROCESS_CONFIG": write_file("max_sessions = 3")})

    assert loaded.settings.max_sessions == 3


def test_the_flag_names_the_file_before_the_environment_does(write_file: WriteFile) -> None:
    loaded = load_from(write_file("max_sessions = 3"), {"WS_SUBPROCESS_CONFIG": "/nowhere"})

    assert loaded.settings.max_sessions == 3


def test_no_file_is_looked_for_unasked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("config.toml", "ws-subprocess.toml", "ws_subprocess.toml"):
        (tmp_path / name).write_text("max_sessions = 3")
    monkeypatch.chdir(tmp_path)

    assert load_from(None, {"HOME": str(tmp_path)}).settings == Settings()


def test_an_unknown_variable_of_our_prefix_is_a_warning_with_a_proposal() -> None:
    loaded = load_from(None, {"WS_SUBPROCESS_LISTN": "x"})

    assert loaded.warnings == ("environment 'WS_SUBPROCESS_LISTN' is no setting; did you mean WS_SUBPROCESS_LISTEN?",)


def test_the_variable_that_sessions_give_their_children_is_no_reason_to_warn() -> None:
    assert load_from(None, {"WS_SUBPROCESS_SESSION": "8f0c", "WS_OTHER": "x"}).warnings == ()


def test_all_problems_of_all_sources_are_told_at_once(write_file: WriteFile) -> None:
    path = write_file("max_sessions = 0\nlistn = []\n")

    problems = problems_of(path, {"WS_SUBPROCESS_METRICS": "x"}, log_level="x", unix_mode="x")

    assert [problem.split(": ")[0] for problem in problems] == [
        f"{path}:2", f"{path}:1", "environment WS_SUBPROCESS_METRICS", "--log-level", "--unix-mode",
    ]  # fmt: skip


def test_a_wrong_value_is_told_even_when_a_stronger_source_overrides_it(write_file: WriteFile) -> None:
    assert len(problems_of(write_file("max_sessions = 0"), max_sessions="5")) == 1


# What can be wrong with the file.


@contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything for a while; without root there is nothing to give up."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(user)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "none.toml")

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}: cannot be read: No such file or directory")


def test_an_unreadable_file_is_refused(write_file: WriteFile) -> None:
    path = write_file("", mode=0o000)

    with as_nobody():
        (problem,) = problems_of(path)

    assert problem.startswith(f"{path}: cannot be read: Permission denied")


def test_a_directory_is_refused(tmp_path: Path) -> None:
    assert problems_of(str(tmp_path))[0].startswith(f"{tmp_path}: cannot be read: Is a directory")


def test_a_fifo_is_refused_without_waiting_for_a_writer(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)

    assert "not a regular file" in problems_of(str(path))[0]


def test_a_file_that_anyone_may_write_to_is_refused(write_file: WriteFile) -> None:
    assert "anyone may write to it; run `chmod o-w`" in problems_of(write_file("", mode=0o646))[0]


def test_a_file_that_is_too_large_is_refused(write_file: WriteFile) -> None:
    assert f"larger than {MAX_BYTES} bytes" in problems_of(write_file("#" * (MAX_BYTES + 1)))[0]


def test_a_file_of_the_largest_size_is_read(write_file: WriteFile) -> None:
    line = "max_sessions = 3\n"

    assert load_from(write_file(line + "#" * (MAX_BYTES - len(line)))).settings.max_sessions == 3


def test_a_file_that_is_not_utf8_is_refused_with_line_and_column(write_file: WriteFile) -> None:
    path = write_file(b'metrics = "all"\nbase_path = "/\xe4"\n')

    assert problems_of(path) == [f"{path}:2:15: not UTF-8; save the file as UTF-8 [bad_config]"]


def test_a_key_that_stands_twice_is_refused_with_its_line(write_file: WriteFile) -> None:
    path = write_file("max_sessions = 1\nmetrics = 'all'\nmax_sessions = 2\n")

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}:3:")
    assert "a key stands twice" in problem


@pytest.mark.parametrize(
    ("text", "place"),
    [("max_sessions 1\n", "1:14"), ("\nmetrics = nowhere\n", "2:11"), ("metrics =", "1:10"), ("x = [", "1:6")],
)
def test_a_syntax_error_is_told_with_line_and_column(text: str, place: str, write_file: WriteFile) -> None:
    path = write_file(text)

    assert problems_of(path)[0].startswith(f"{path}:{place}")


def test_an_unknown_key_is_refused_with_its_line_and_a_proposal(write_file: WriteFile) -> None:
    path = write_file("\n\nmax_session = 1\n")

    assert problems_of(path) == [f"{path}:3: 'max_session' is no setting; did you mean max_sessions? [bad_config]"]


def test_a_table_is_refused_as_an_unknown_key(write_file: WriteFile) -> None:
    path = write_file("[server]\nmax_sessions = 1\n")

    assert "'server' is no setting" in problems_of(path)[0]


WRONG_TYPES = [
    ("max_sessions", '"5"', "a string instead of a whole number from 1 to 100000"),
    ("max_sessions", "true", "a boolean instead of a whole number"),
    ("max_sessions", "5.0", "a float instead of a whole number"),
    ("compression", '"yes"', "a string instead of true or false"),
    ("compression", "1", "an integer instead of true or false"),
    ("listen", '"127.0.0.1:1"', "a string instead of a list; put it in square brackets"),
    ("listen", "[8866]", "8866: an integer instead of a string; put it in quotes"),
    ("drain_timeout_s", "true", "a boolean instead of seconds"),
    ("drain_timeout_s", "[]", "a list instead of seconds"),
    ("ring_bytes", "1.5", "a float instead of bytes"),
    ("ring_bytes", "1979-05-27", "a date instead of bytes"),
    ("metrics", "false", "a boolean instead of one of the strings loopback, all, off"),
    ("unix_mode", "0o600", "an integer instead of a string; put it in quotes"),
    ("base_path", "{}", "a table instead of a string"),
]


@pytest.mark.parametrize(("key", "toml", "text"), WRONG_TYPES)
def test_a_value_of_the_wrong_type_is_refused_with_its_line(
    key: str, toml: str, text: str, write_file: WriteFile
) -> None:
    path = write_file(f"{key} = {toml}")

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}:1: {key} = ")
    assert text in problem
    assert problem.endswith("[bad_config]")


HEX = "0x" + "f" * 5000


@pytest.mark.parametrize(
    ("key", "toml"),
    [("max_sessions", HEX), ("drain_timeout_s", "9" * 400), ("drain_timeout_s", HEX), ("listen", f"[{HEX}]")],
)
def test_a_number_of_any_length_is_refused_with_its_line(key: str, toml: str, write_file: WriteFile) -> None:
    path = write_file(f"{key} = {toml}")

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}:1: {key} = ")
    assert len(problem) < 300


@pytest.mark.parametrize("toml", ["9" * 5000, "[" * 5000 + "]" * 5000], ids=["digits", "brackets"])
def test_what_python_cannot_read_is_refused(toml: str, write_file: WriteFile) -> None:
    path = write_file(f"max_sessions = {toml}")

    (problem,) = problems_of(path)

    assert problem.startswith(f"{path}: not valid TOML: ")


@pytest.mark.parametrize("number", ["nan", "inf", "-inf", "-1", "1e9"])
def test_a_file_cannot_have_a_time_that_is_no_time(number: str, write_file: WriteFile) -> None:
    (problem,) = problems_of(write_file(f"drain_timeout_s = {number}"))

    assert problem.endswith("[bad_value]")


def test_lines_are_found_past_all_that_looks_like_a_key() -> None:
    text = '''# a = 1
b = """
c = 1 # "
"""
d = [ # e = 2
  "f = [",
]
"g" = 'h = "'
 i.j = { k = 1 }
'l' = \'\'\'
m = 1\'\'\'
n = "\\" #"
'''

    assert dict(key_lines(text)) == {"b": 2, "d": 5, "g": 8, "i": 9, "l": 10, "n": 12}
