"""What no grant may exceed: commands, directories and users by the operator's lists."""

import grp
import pwd
from pathlib import Path

import pytest

from ws_subprocess.auth.policy import Policy
from ws_subprocess.errors import GateError
from ws_subprocess.model import Confinement, Grant


def grant(command: str = "/bin/true", cwd: str | None = None, user: str | None = None) -> Grant:
    return Grant(command=command, cwd=cwd, confinement=Confinement(user=user))


def reason_of(policy: Policy, asked: Grant) -> str:
    with pytest.raises(GateError) as caught:
        policy.check(asked)
    assert caught.value.code == "command_denied"
    return caught.value.reason


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A folder with a program in it, and one outside."""
    (tmp_path / "tools" / "deep").mkdir(parents=True)
    for name in ("tools/a", "tools/deep/b", "evil"):
        (tmp_path / name).write_text("#!/bin/sh\n")
    return tmp_path


def test_without_lists_everything_may_run() -> None:
    Policy().check(grant("/opt/anything", "/anywhere", "daemon"))


def test_a_listed_command_may_run_and_no_other() -> None:
    policy = Policy(allow_commands=("/bin/true",))

    policy.check(grant("/bin/true"))
    for other in (
        "/bin/false",
        "/bin/true/",
        "/bin/./true",
        "/bin/../bin/true",
        "//bin/true",
        "/bin/tru",
        "/bin/true2",
    ):
        assert reason_of(policy, grant(other)) == "command_denied"


def test_a_link_to_a_listed_command_is_another_command(tree: Path) -> None:
    (tree / "soft").symlink_to(tree / "tools" / "a")
    (tree / "hard").hardlink_to(tree / "tools" / "a")
    policy = Policy(allow_commands=(str(tree / "tools" / "a"),))

    policy.check(grant(str(tree / "tools" / "a")))
    for name in ("soft", "hard"):
        assert reason_of(policy, grant(str(tree / name))) == "command_denied"


def test_all_below_a_listed_folder_may_run(tree: Path) -> None:
    policy = Policy(allow_commands=(f"{tree}/tools/",))

    policy.check(grant(f"{tree}/tools/a"))
    policy.check(grant(f"{tree}/tools/deep/b"))
    for other in ("evil", "tools2/a", "tools/../evil", "tools//a"):
        assert reason_of(policy, grant(f"{tree}/{other}")) == "command_denied"


def test_a_link_out_of_a_listed_folder_leads_nowhere(tree: Path) -> None:
    (tree / "tools" / "out").symlink_to(tree / "evil")
    (tree / "tools" / "up").symlink_to(tree)
    policy = Policy(allow_commands=(f"{tree}/tools/",))

    assert reason_of(policy, grant(f"{tree}/tools/out")) == "command_denied"
    assert reason_of(policy, grant(f"{tree}/tools/up/evil")) == "command_denied"


def test_a_listed_folder_that_is_a_link_itself_is_meant(tree: Path) -> None:
    (tree / "current").symlink_to(tree / "tools")
    policy = Policy(allow_commands=(f"{tree}/current/",))

    policy.check(grant(f"{tree}/current/a"))


def test_a_command_runs_in_a_listed_directory_or_below(tree: Path) -> None:
    policy = Policy(allow_cwds=(f"{tree}/tools",))

    policy.check(grant(cwd=f"{tree}/tools"))
    policy.check(grant(cwd=f"{tree}/tools/deep"))
    policy.check(grant(cwd=f"{tree}/tools/"))
    for other in (None, str(tree), f"{tree}/tools/..", f"{tree}/toolshed"):
        assert reason_of(policy, grant(cwd=other)) == "cwd_denied"


def test_the_root_directory_is_below_itself() -> None:
    policy = Policy(allow_cwds=("/",))

    policy.check(grant(cwd="/"))
    policy.check(grant(cwd="/usr"))
    assert reason_of(Policy(allow_cwds=("/usr",)), grant(cwd="/")) == "cwd_denied"


def test_a_command_runs_as_a_listed_user() -> None:
    policy = Policy(allow_users=("daemon", "games"))

    policy.check(grant(user="daemon"))
    assert reason_of(policy, grant(user="bin")) == "user_denied"
    assert reason_of(policy, grant(user=None)) == "user_denied"


def test_the_default_user_counts_where_none_is_named() -> None:
    Policy(allow_users=("daemon",), default_user="daemon").check(grant())


def test_root_has_to_be_listed_by_name() -> None:
    assert reason_of(Policy(), grant(user="root")) == "user_denied"

    Policy(allow_users=("root",)).check(grant(user="root"))
    Policy(default_user="root").check(grant(user="root"))


def test_of_an_account_that_does_not_exist_the_start_will_complain() -> None:
    Policy().check(Grant(command="/bin/true", confinement=Confinement(user="no-such", group="shadow")))
    Policy().check(Grant(command="/bin/true", confinement=Confinement(user="daemon", group="no-such")))


def test_a_group_has_to_be_one_of_the_account_s_own() -> None:
    own = grp.getgrgid(pwd.getpwnam("daemon").pw_gid).gr_name

    Policy().check(Grant(command="/bin/true", confinement=Confinement(user="daemon", group=own)))
    foreign = Grant(command="/bin/true", confinement=Confinement(user="daemon", group="shadow"))
    assert reason_of(Policy(), foreign) == "user_denied"
    by_default = Grant(command="/bin/true", confinement=Confinement(group="shadow"))
    assert reason_of(Policy(default_user="daemon"), by_default) == "user_denied"


def test_the_daemon_s_own_account_counts_where_nobody_names_one() -> None:
    policy = Policy(allow_users=("lab",), own_user="lab")

    policy.check(grant())
    assert reason_of(Policy(allow_users=("lab",), own_user="other"), grant()) == "user_denied"
    assert reason_of(Policy(own_user="root"), grant(user="root")) == "user_denied"
