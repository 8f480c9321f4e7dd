"""What a token lets a client propose: the token's word holds, the client fills in the rest."""

from pathlib import Path
from typing import Any

import pytest

from ws_subprocess.auth.grants import PATH_MAX_BYTES
from ws_subprocess.auth.proposals import ALLOW_MAX, Allowed, build_grant, parse_allow
from ws_subprocess.errors import GateError, GrantError, RequestError
from ws_subprocess.model import Grant, LaunchRequest, Proposal
from ws_subprocess.process.environ import is_refused


def build(fields: dict[str, Any], *allow: Allowed, door: str = "exec", proposal: Proposal | None = None) -> Grant:
    return build_grant(fields, allow, LaunchRequest(door, "127.0.0.1", proposal=proposal), is_refused).grant


ECHO = Allowed("exec", "/bin/echo")


def test_a_list_is_read_as_it_is_written() -> None:
    listed = [{"door": "exec", "command": "/bin/echo"}, {"door": "job", "command": "/opt/tools/"}]

    assert parse_allow(listed) == (ECHO, Allowed("job", "/opt/tools/"))
    assert parse_allow([]) == ()


def test_a_list_and_its_paths_may_be_as_long_as_agreed() -> None:
    path = "/" + "x" * (PATH_MAX_BYTES - 1)

    allow = parse_allow([{"door": "exec", "command": path}] * ALLOW_MAX)

    assert len(allow) == ALLOW_MAX
    assert build({}, *allow, proposal=Proposal(path)).command == path


@pytest.mark.parametrize(
    "value",
    [
        None,
        {},
        "exec",
        ["exec"],
        [{}],
        [{"door": "exec"}],
        [{"command": "/bin/sh"}],
        [{"door": "", "command": "/bin/sh"}],
        [{"door": 1, "command": "/bin/sh"}],
        [{"door": "exec", "command": ["/bin/sh"]}],
        [{"door": "exec", "command": "sh"}],
        [{"door": "exec", "command": ""}],
        [{"door": "exec", "command": "/bin/s\0h"}],
        [{"door": "exec", "command": "/" + "x" * 5000}],
        [{"door": "exec", "command": "/bin/sh", "user": "root"}],
        [{"door": "exec", "command": "/bin/sh"}] * (ALLOW_MAX + 1),
    ],
)
def test_a_list_that_is_not_understood_to_the_last_word_allows_nothing(value: Any) -> None:
    with pytest.raises(GrantError, match="allow"):
        parse_allow(value)


def test_what_is_allowed_runs_with_the_clients_arguments() -> None:
    grant = build({}, ECHO, proposal=Proposal("/bin/echo", ("a", "b"), "/tmp", {"COLOR": "red"}))

    assert (grant.command, grant.args, grant.cwd, dict(grant.env)) == (
        "/bin/echo",
        ("a", "b"),
        "/tmp",
        {"COLOR": "red"},
    )


@pytest.mark.parametrize(
    "command", ["/bin/sh", "echo", "", "/bin/echo/", "/bin/../bin/echo", "/bin/ECHO", "/bin/echo\0"]
)
def test_what_is_not_allowed_does_not_run(command: str) -> None:
    with pytest.raises(GateError) as caught:
        build({}, ECHO, proposal=Proposal(command))

    assert (caught.value.code, caught.value.reason) == ("denied", "token_command")


@pytest.mark.parametrize("command", ["/opt/a\0b", "/opt/\ud800", "/opt/" + "a/" * 200_000 + "b"])
def test_what_no_file_can_be_called_is_below_no_folder(command: str) -> None:
    with pytest.raises(GateError) as caught:
        build({}, Allowed("exec", "/opt/"), proposal=Proposal(command))

    assert (caught.value.code, caught.value.reason) == ("denied", "token_command")


def test_what_is_allowed_at_one_door_is_not_at_another() -> None:
    with pytest.raises(GateError) as caught:
        build({}, ECHO, door="job", proposal=Proposal("/bin/echo"))

    assert caught.value.reason == "token_command"


def test_a_directory_allows_what_is_below_it_and_no_way_out(tmp_path: Path) -> None:
    tools = tmp_path / "tools"
    (tools / "deep").mkdir(parents=True)
    (tools / "link").symlink_to("/bin/echo")
    allowed = Allowed("exec", f"{tools}/")

    assert allowed.allows("exec", f"{tools}/one")
    assert allowed.allows("exec", f"{tools}/deep/two")
    for command in (f"{tools}/../x", f"{tools}/link", f"{tools}2/one", f"{tools}//one", "tools/one"):
        assert not allowed.allows("exec", command), command


def test_the_tokens_word_holds_against_the_proposal() -> None:
    fields = {"cwd": "/var", "env": {"A": "token"}, "title": "fixed", "user": None, "max_lifetime_s": 5}

    grant = build(fields, ECHO, proposal=Proposal("/bin/echo", (), "/tmp", {"A": "client", "B": "client"}))

    assert (grant.cwd, dict(grant.env), grant.title) == ("/var", {"A": "token", "B": "client"}, "fixed")
    assert grant.max_lifetime_s == 5


def test_where_nothing_is_proposed_the_tokens_own_command_runs() -> None:
    assert build({"command": "/bin/true"}, ECHO).command == "/bin/true"


def test_a_token_that_lets_nothing_be_proposed_runs_its_own_command_whatever_is_proposed() -> None:
    assert build({"command": "/bin/true"}, proposal=Proposal("/bin/sh")).command == "/bin/true"


def test_a_token_with_a_list_runs_nothing_that_is_not_on_it_even_with_a_command_of_its_own() -> None:
    with pytest.raises(GateError, match="is not in the token's allow"):
        build({"command": "/bin/true"}, ECHO, proposal=Proposal("/bin/true"))


def test_where_nothing_is_proposed_and_no_command_named_nothing_runs() -> None:
    with pytest.raises(GateError) as caught:
        build({}, ECHO)

    assert (caught.value.code, caught.value.reason) == ("denied", "token_door")


def test_a_token_with_neither_is_no_grant() -> None:
    with pytest.raises(GrantError):
        build({})


@pytest.mark.parametrize(
    "proposal",
    [
        Proposal("/bin/echo", ("a\0b",)),
        Proposal("/bin/echo", cwd="tmp"),
        Proposal("/bin/echo", env={"LD_PRELOAD": "/tmp/x.so"}),
        Proposal("/bin/echo", env={"A B": "x"}),
    ],
)
def test_a_proposal_that_cannot_be_used_is_the_clients_mistake(proposal: Proposal) -> None:
    with pytest.raises(RequestError) as caught:
        build({}, ECHO, proposal=proposal)

    assert caught.value.code == "bad_request"


def test_a_broken_token_is_not_the_clients_mistake() -> None:
    with pytest.raises(GrantError):
        build({"tty": "yes"}, ECHO, proposal=Proposal("/bin/echo"))
