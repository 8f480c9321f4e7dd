"""The grants say what the daemon understands, and no more than the user may do."""

import dataclasses
import json
import sys

import pytest

from example_controller.programs import DEMO_USERS, VIEWER
from ws_subprocess.auth.grants import parse_grant
from ws_subprocess.process.environ import is_refused

EVERY_PROGRAM = [
    pytest.param(program, id=f"{user.name}-{program.id}") for user in DEMO_USERS for program in user.programs
]


@pytest.mark.parametrize("program", EVERY_PROGRAM)
def test_the_daemon_accepts_every_key_of_every_grant(program):
    # Some of these programs are not on every machine; their grants are the same with one that is.
    installed = dataclasses.replace(program, argv=(sys.executable, *program.argv[1:]))

    parsed = parse_grant(json.loads(json.dumps(installed.grant())), is_refused)

    assert parsed.unknown_keys == ()
    assert parsed.grant.command == sys.executable
    assert parsed.grant.args == program.argv[1:]
    assert parsed.grant.idle_timeout_s or parsed.grant.max_lifetime_s


@pytest.mark.parametrize("program", VIEWER.programs, ids=lambda program: program.id)
def test_nothing_the_viewer_may_run_is_a_way_to_a_shell(program):
    is_watched_only = program.options.get("read_only") is True
    is_locked_less = program.argv[0] == "less" and program.options["env"]["LESSSECURE"] == "1"
    is_locked_nano = program.argv[0] == "nano" and {"--restricted", "--view"} <= set(program.argv)

    assert is_watched_only or is_locked_less or is_locked_nano


def test_a_program_that_this_machine_does_not_have_has_no_grant():
    absent = dataclasses.replace(VIEWER.programs[0], argv=("no-such-tool",))

    assert absent.grant() is None
