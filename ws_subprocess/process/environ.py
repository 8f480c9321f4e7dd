"""The environment of a child: built from nothing, plus what the grant says. Never the daemon's own."""

import os
import pwd
import re
from collections.abc import Mapping

from ws_subprocess.model import SessionId

SESSION_VARIABLE = "WS_SUBPROCESS_SESSION"
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Names that make a program load code or data chosen by whoever sets them.
_LOADERS = re.compile(
    r"LD_.*|.*PRELOAD.*|BASH_ENV|BASH_FUNC_.*|ENV|IFS|SHELLOPTS|BASHOPTS|PS4|PROMPT_COMMAND|PYTHON.*|PERL5.*|PERLLIB|RUBYOPT|RUBYLIB"
    r"|NODE_OPTIONS|NODE_PATH|JAVA_TOOL_OPTIONS|_JAVA_OPTIONS|GCONV_PATH|TERMINFO|TERMINFO_DIRS|TERMCAP|LOCPATH|NLSPATH|HOSTALIASES"
    r"|RESOLV_HOST_CONF|MALLOC_.*|GLIBC_TUNABLES|GIT_.*|TMPDIR",
    re.DOTALL,
)


def is_refused(name: str) -> bool:
    """Tell whether a grant may not set this variable."""
    return name == SESSION_VARIABLE or _LOADERS.fullmatch(name) is not None


class Environment:
    """Builds children's environments; what does not change is looked up once."""

    def __init__(self) -> None:
        account = _find_account()
        self._base = {
            "PATH": _PATH,
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "SHELL": account.pw_shell or "/bin/sh",
            "LANG": "C.UTF-8",
        }

    def build(self, session: SessionId, tty: bool, granted: Mapping[str, str]) -> dict[str, str]:
        """Return the whole environment of one child."""
        terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor"} if tty else {"TERM": "dumb"}
        return {**self._base, **terminal, **granted, SESSION_VARIABLE: session}


def _find_account() -> pwd.struct_passwd:
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid)
    except KeyError:  # A container's uid need not stand in its passwd file.
        return pwd.struct_passwd((str(uid), "x", uid, os.getgid(), "", "/", "/bin/sh"))
