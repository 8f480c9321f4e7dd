"""Which variables a grant may set."""

import os

import pytest

from ws_subprocess.model import SessionId
from ws_subprocess.process.environ import Environment, is_refused

REFUSED = """LD_PRELOAD LD_LIBRARY_PATH LD_AUDIT MY_PRELOAD BASH_ENV ENV IFS SHELLOPTS PS4 PYTHONPATH PYTHONSTARTUP
    PERL5LIB PERL5OPT RUBYOPT RUBYLIB NODE_OPTIONS NODE_PATH JAVA_TOOL_OPTIONS GCONV_PATH TERMINFO TERMINFO_DIRS LOCPATH
    GLIBC_TUNABLES GIT_SSH_COMMAND TMPDIR PROMPT_COMMAND WS_SUBPROCESS_SESSION"""
ALLOWED = (
    "PATH HOME USER LOGNAME SHELL LANG LC_ALL TERM COLORTERM TZ EDITOR LAB ENVIRONMENT MY_LD MYENV TERMINAL DISPLAY"
)


@pytest.mark.parametrize("name", REFUSED.split())
def test_variables_that_make_programs_load_foreign_code_are_refused(name: str) -> None:
    assert is_refused(name)


@pytest.mark.parametrize("name", ALLOWED.split())
def test_other_variables_are_not(name: str) -> None:
    assert not is_refused(name)


def test_a_uid_that_stands_in_no_passwd_file_gets_an_environment_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getuid", lambda: 3_141_592)

    found = Environment().build(SessionId("5e55"), True, {})

    assert found["USER"] == "3141592"
    assert found["HOME"] == "/"
    assert found["SHELL"] == "/bin/sh"


def test_a_grant_cannot_take_the_sessions_mark_away() -> None:
    found = Environment().build(SessionId("5e55"), False, {"WS_SUBPROCESS_SESSION": "other", "TERM": "vt100"})

    assert found["WS_SUBPROCESS_SESSION"] == "5e55"
    assert found["TERM"] == "vt100"
