"""The environment of a child: built from nothing, plus what the grant says. Never the daemon's own."""

import re
from collections.abc import Mapping

from ws_subprocess.model import SessionId
from ws_subprocess.process.accounts import Account, find_own_entry

SESSION_VARIABLE = "WS_SUBPROCESS_SESSION"
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

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
        account = find_own_entry()
        self._base = {
            "PATH": DEFAULT_PATH,
            "HOME": account.pw_dir,
            "USER": account.pw_name,
            "LOGNAME": account.pw_name,
            "SHELL": account.pw_shell or "/bin/sh",
            "LANG": "C.UTF-8",
        }

    def build(
        self, session: SessionId, tty: bool, granted: Mapping[str, str], account: Account | None = None
    ) -> dict[str, str]:
        """Return the whole environment of one child, that of `account` when it is to be somebody else."""
        terminal = {"TERM": "xterm-256color", "COLORTERM": "truecolor"} if tty else {"TERM": "dumb"}
        own = {} if account is None else _describe(account)
        return {**self._base, **own, **terminal, **granted, SESSION_VARIABLE: session}


def _describe(account: Account) -> dict[str, str]:
    return {"HOME": account.home, "USER": account.name, "LOGNAME": account.name, "SHELL": account.shell}
