"""A controller's object becomes a Grant as a whole or not at all."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.auth.grants import ParsedGrant, parse_grant
from ws_subprocess.errors import FAULTS, GrantError
from ws_subprocess.model import DEFAULT_SIZE, Confinement, Grant, Right, Size
from ws_subprocess.process.environ import is_refused

KEYS = (
    "command",
    "args",
    "cwd",
    "env",
    "tty",
    "rows",
    "cols",
    "title",
    "idle_timeout_s",
    "max_lifetime_s",
    "max_output_bytes",
    "read_only",
    "rights",
    "principal",
    "user",
    "group",
    "umask",
    "no_new_privs",
    "max_memory_bytes",
    "max_processes",
    "max_cpu_s",
    "max_open_files",
)

values: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.text(st.characters(), max_size=8), inner, max_size=4)
    ),
    max_leaves=12,
)
# Close to right, so that every check behind the first one is reached too.
near = st.one_of(
    values,
    st.sampled_from(
        ["/bin/true", "/", "/a\0b", "/a\ud800", "/proc/1", 0, 1, 2000, 2001, 10**400, -1.0, True, 0.1, 5e-324]
    ),
    st.lists(st.text(st.characters()), max_size=3),
    st.dictionaries(st.sampled_from(["A", "TERM", "LD_PRELOAD", "a b", ""]), st.text(st.characters()), max_size=3),
)


def parse(**fields: Any) -> Grant:
    return parse_grant({"command": "/bin/true", **fields}, is_refused).grant


def refuse(**fields: Any) -> GrantError:
    with pytest.raises(GrantError) as caught:
        parse(**fields)
    return caught.value


# Some of them grants: with a command, and little besides that could be wrong.
objects = st.builds(
    lambda command, known, unknown: {**command, **known, **unknown},
    st.just({}) | st.just({"command": "/bin/true"}),
    st.just({}) | st.dictionaries(st.sampled_from(KEYS), near, max_size=12),
    st.dictionaries(st.text(st.characters(), max_size=8), near, max_size=4),
)


@given(objects)
def test_any_object_is_a_grant_or_a_grant_error(fields: dict[str, Any]) -> None:
    outcome = parse_or_refuse(fields)

    if isinstance(outcome, GrantError):
        assert outcome.code in FAULTS
        assert outcome.fault.status == 502
        assert outcome.detail.isprintable()
        assert len(outcome.detail) < 400
    else:
        grant = outcome.grant
        assert grant.command.startswith("/")
        assert 1 <= grant.size.rows <= 2000
        assert 1 <= grant.size.cols <= 2000
        assert set(outcome.unknown_keys) == set(fields) - set(KEYS)
        for text in (grant.command, *grant.args, *grant.env.values()):
            assert b"\0" not in text.encode()


def parse_or_refuse(fields: dict[str, Any]) -> ParsedGrant | GrantError:
    try:
        return parse_grant(fields, is_refused)
    except GrantError as refusal:
        return refusal


@pytest.mark.parametrize("key", KEYS)
def test_nesting_of_any_depth_is_refused_as_any_wrong_value(key: str) -> None:
    value: list[Any] = []
    for _ in range(sys.getrecursionlimit() * 3):
        value = [value]

    assert refuse(**{key: value}).code in FAULTS


def test_a_command_is_enough() -> None:
    assert parse() == Grant(command="/bin/true", title="true", size=DEFAULT_SIZE)


def test_everything_that_may_be_said_is_kept() -> None:
    given = {
        "command": "/bin/bash",
        "args": ["-l", ""],
        "cwd": "/srv",
        "env": {"LAB": "7", "TERM": "vt100"},
        "tty": False,
        "rows": 2000,
        "cols": 1,
        "title": "Lab \u00fc",
        "idle_timeout_s": 0.5,
        "max_lifetime_s": 31_536_000,
        "read_only": True,
    }

    grant = parse(**given)

    assert grant.args == ("-l", "")
    assert grant.cwd == "/srv"
    assert dict(grant.env) == {"LAB": "7", "TERM": "vt100"}
    assert grant.tty is False
    assert grant.size == Size(2000, 1)
    assert grant.title == "Lab \u00fc"
    assert (grant.idle_timeout_s, grant.max_lifetime_s) == (0.5, 31_536_000.0)
    assert grant.rights == {Right.START, Right.VIEW}


@pytest.mark.parametrize("key", KEYS[1:])
def test_null_means_left_out(key: str) -> None:
    assert parse(**{key: None}) == parse()


@pytest.mark.parametrize("value", [None, 5, ["/bin/true"], {}, True])
def test_a_command_that_is_no_text_is_refused(value: object) -> None:
    error = refuse(command=value)

    assert error.code == "controller_bad_schema"
    assert error.detail.startswith("command: ")


@pytest.mark.parametrize(
    "value",
    ["", "true", "./true", "~/true", "/a\0b", "/a\nb", "/a\n", "/a\x1bb", "/a\x7f", "/a\ud800", "/" + "x" * 4096],
)
def test_a_command_that_is_no_path_is_refused(value: str) -> None:
    assert refuse(command=value).code == "controller_bad_command"


def test_a_command_may_have_4096_bytes_and_any_letters() -> None:
    assert parse(command="/" + "\u00e9" * 2047 + "x").command.endswith("x")
    assert refuse(command="/" + "\u00e9" * 2048).code == "controller_bad_command"


@pytest.mark.parametrize("value", ["-l", {"0": "-l"}, [1], ["a", None], [["a"]], 5, True, ""])
def test_args_that_are_no_list_of_texts_are_refused(value: object) -> None:
    assert refuse(args=value).code == "controller_bad_schema"


@pytest.mark.parametrize("value", ["a\0b", "\ud800", "x" * 131_072])
def test_an_argument_that_no_program_could_get_is_refused_by_its_index(value: str) -> None:
    assert refuse(args=["ok", value]).detail.startswith("args[1]: ")


def test_arguments_have_their_bounds() -> None:
    assert len(parse(args=["x"] * 10_000).args) == 10_000
    assert parse(args=["x" * 131_071])
    assert refuse(args=["x"] * 10_001).code == "controller_too_big"


@pytest.mark.parametrize(
    "name", ["", "A=B", "A B", "1A", "\u00c4", "A\0", "A\n", "LD_PRELOAD", "WS_SUBPROCESS_SESSION"]
)
def test_a_variable_that_may_not_be_set_is_refused(name: str) -> None:
    assert refuse(env={name: "1"}).code == "controller_bad_env"


@pytest.mark.parametrize("value", [1, None, True, [], "a\0b", "\ud800", "x" * 131_072])
def test_a_variables_value_that_cannot_be_is_refused_without_telling_it(value: object) -> None:
    error = refuse(env={"SECRET": value})

    assert error.code == "controller_bad_env"
    assert error.detail.startswith("env SECRET: ")
    assert str(value)[:20] not in error.detail.removeprefix("env SECRET: ") or value in (1, None, True, [])


@pytest.mark.parametrize("value", ["../../x", "a\x1b[31m", "", "x" * 65, "a/b", "xterm\n"])
def test_a_terminal_type_that_is_a_path_or_worse_is_refused(value: str) -> None:
    error = refuse(env={"TERM": value})

    assert error.code == "controller_bad_env"
    assert error.detail == "env TERM: not 1 to 64 of A-Z a-z 0-9 . _ + -", (
        "the audit shows it: no value of an environment"
    )


@pytest.mark.parametrize("value", [[], "A=1", 5, [["A", "1"]]])
def test_env_that_is_no_object_is_refused(value: object) -> None:
    assert refuse(env=value).code == "controller_bad_env"


def test_env_may_have_256_variables() -> None:
    assert len(parse(env={f"A{n}": "" for n in range(256)}).env) == 256
    assert refuse(env={f"A{n}": "" for n in range(257)}).code == "controller_too_big"


def test_what_a_grant_holds_cannot_be_changed_afterwards() -> None:
    env = {"A": "1"}
    grant = parse(env=env)
    env["A"] = "2"

    assert grant.env["A"] == "1"
    with pytest.raises(TypeError):
        grant.env["A"] = "3"  # type: ignore[index]


@pytest.mark.parametrize(
    "value",
    [
        "tmp",
        "",
        "./x",
        "/proc",
        "/proc/self/fd/9",
        "//proc/1",
        "/./proc/1",
        "/tmp/../proc/self/fd/9",
        "/dev/fd/9",
        "//dev/fd",
        "/a\0",
        "/a\n",
    ],
)
def test_a_directory_that_is_no_safe_path_is_refused(value: str) -> None:
    assert refuse(cwd=value).code == "spawn_cwd"


@pytest.mark.parametrize("value", ["/", "/processes", "/srv/proc", "/dev/fdx", "/a b/\u00e9"])
def test_other_directories_are_taken_as_they_are(value: str) -> None:
    assert parse(cwd=value).cwd == value


@pytest.mark.parametrize("key", ["rows", "cols"])
@pytest.mark.parametrize("value", [0, -1, 2001, 65_536, 10**9, "80", True, 80.5, 80.0, float("nan"), [80]])
def test_a_size_that_no_terminal_has_is_refused(key: str, value: object) -> None:
    error = refuse(**{key: value})

    assert error.code == "controller_bad_schema"
    assert error.detail.startswith(f"{key}: ")


@pytest.mark.parametrize("key", ["idle_timeout_s", "max_lifetime_s"])
@pytest.mark.parametrize(
    "value", [0, -1, 31_536_001, float("nan"), float("inf"), 10**400, -(10**400), "60", True, [], {}]
)
def test_a_limit_that_is_no_time_is_refused(key: str, value: object) -> None:
    assert refuse(**{key: value}).code == "controller_bad_schema"


@pytest.mark.parametrize("key", ["rows", "max_lifetime_s", "max_cpu_s", "command"])
def test_a_number_that_is_too_long_to_be_written_out_is_refused_as_any_other(key: str) -> None:
    """Python reads the hexadecimal numbers of TOML at any length, but writes out no more than some thousand digits."""
    assert refuse(**{key: 1 << 20_000}).detail.startswith(f"{key}: a number of 20001 bits is not ")


@pytest.mark.parametrize("key", ["tty", "read_only"])
@pytest.mark.parametrize("value", [0, 1, "true", "", [], {}])
def test_a_switch_is_true_or_false_and_nothing_like_it(key: str, value: object) -> None:
    assert refuse(**{key: value}).code == "controller_bad_schema"


@pytest.mark.parametrize("value", [5, "a\nb", "\x1b]0;x\x07", "\x9b", "\ud800", "x" * 257, [], True])
def test_a_title_that_could_not_be_shown_is_refused(value: object) -> None:
    assert refuse(title=value).code == "controller_bad_schema"


def test_a_title_may_be_empty_and_have_256_characters() -> None:
    assert parse(title="").title == ""
    assert len(parse(title="\U0001f600" * 256).title) == 256


def test_what_a_command_is_confined_to_is_kept() -> None:
    grant = parse(
        user="lab",
        group="lab-7",
        umask="027",
        no_new_privs=True,
        max_memory_bytes=2**30,
        max_processes=64,
        max_cpu_s=60,
        max_open_files=256,
        max_output_bytes=10**9,
        principal="Lab \u00fc",
    )

    assert grant.confinement == Confinement("lab", "lab-7", 0o027, True, 2**30, 64, 60, 256)
    assert (grant.max_output_bytes, grant.principal) == (10**9, "Lab \u00fc")


@pytest.mark.parametrize("key", ["user", "group"])
@pytest.mark.parametrize(
    "value", ["", "0", "1000", "-x", "a b", "a:b", "a/b", "a\n", "a\0", "\u00fc", "x" * 33, 0, 1000, True, ["root"]]
)
def test_an_account_has_a_name_and_no_number(key: str, value: object) -> None:
    error = refuse(**{key: value})

    assert error.code == "controller_bad_schema"
    assert error.detail.startswith(f"{key}: ")


@pytest.mark.parametrize("value", [0, 27, 0o27, "27", "1027", "028", "0o27", "-27", "027\n", "", True, ["027"]])
def test_a_umask_is_three_octal_digits(value: object) -> None:
    assert refuse(umask=value).detail.startswith("umask: ")


@pytest.mark.parametrize(
    "key", ["max_output_bytes", "max_memory_bytes", "max_processes", "max_cpu_s", "max_open_files"]
)
@pytest.mark.parametrize("value", [0, -1, 2**62 + 1, 10**400, 1.0, 0.5, True, False, "1", [1], {}])
def test_a_limit_that_is_no_count_is_refused(key: str, value: object) -> None:
    error = refuse(**{key: value})

    assert error.code == "controller_bad_schema"
    assert error.detail.startswith(f"{key}: ")


def test_a_limit_may_be_as_low_and_as_high_as_agreed() -> None:
    confinement = parse(max_cpu_s=1, max_memory_bytes=2**62).confinement

    assert (confinement.cpu_s, confinement.memory_bytes) == (1, 2**62)


@pytest.mark.parametrize(
    ("given", "rights"),
    [
        ({}, set(Right)),
        ({"rights": ["view", "start", "view"]}, {Right.VIEW, Right.START}),
        ({"rights": []}, set()),
        ({"rights": ["write", "view"], "read_only": True}, {Right.VIEW}),
        ({"rights": ["kill"], "read_only": False}, {Right.KILL}),
    ],
)
def test_rights_are_those_that_are_listed(given: dict[str, Any], rights: set[Right]) -> None:
    assert parse(**given).rights == rights


@pytest.mark.parametrize("value", ["view", ["View"], ["view", "all"], [None], [["view"]], {"view": True}, True, 5])
def test_rights_that_nobody_knows_refuse_the_grant(value: object) -> None:
    assert refuse(rights=value).detail.startswith("rights: ")


@pytest.mark.parametrize("value", ["x" * 257, "a\nb", "\ud800", 5, ["me"], True])
def test_a_principal_that_could_break_the_audit_is_refused(value: object) -> None:
    assert refuse(principal=value).detail.startswith("principal: ")
