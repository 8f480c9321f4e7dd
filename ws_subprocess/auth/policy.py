"""What no grant may exceed, whoever made it: the operator's allow-lists of commands, directories and users.

Laws: an empty list allows everything but root by name; a file that is reached under another name (a symbolic or hard
link) is another command; who may write to an allowed file or directory decides what runs.
"""

import grp
import os
import posixpath
import pwd

from ws_subprocess.errors import GateError
from ws_subprocess.model import Confinement, Grant


class Policy:
    """The operator's limits.

    Args:
        allow_commands: Absolute paths; one that ends with a slash allows every program below that directory.
        allow_cwds: Directories, with all below them.
        allow_users: Account names; root only runs what names it when it stands here.
        default_user: Who runs what names no user; "" for the daemon's own account.
        own_user: The daemon's own account; "" if it has no name.
    """

    def __init__(
        self,
        allow_commands: tuple[str, ...] = (),
        allow_cwds: tuple[str, ...] = (),
        allow_users: tuple[str, ...] = (),
        default_user: str = "",
        own_user: str = "",
    ) -> None:
        self._commands = frozenset(path for path in allow_commands if not path.endswith("/"))
        self._folders = tuple(path for path in allow_commands if path.endswith("/"))
        self._is_command_limited = bool(allow_commands)
        self._cwds = allow_cwds
        self._users = frozenset(allow_users)
        self._default_user = default_user
        self._own_user = own_user

    def check(self, grant: Grant) -> None:
        """Pass a grant that stays within the lists.

        Raises:
            GateError: `command_denied`; `reason` and `detail` tell which list.
        """
        if self._is_command_limited and not self._allows_command(grant.command):
            raise GateError("command_denied", f"command {grant.command!a} is not in allow_commands")
        if self._cwds and (grant.cwd is None or not any(is_below(grant.cwd, folder) for folder in self._cwds)):
            detail = f"cwd {grant.cwd!a} is not in allow_cwds" if grant.cwd else "cwd: none given, allow_cwds wants one"
            raise GateError("command_denied", detail, reason="cwd_denied")
        self._check_user(grant.confinement.user)
        self._check_group(grant.confinement)

    def _check_group(self, confinement: Confinement) -> None:
        user, group = confinement.user or self._default_user, confinement.group
        if user and group is not None and not _is_in_group(user, group):
            raise GateError("command_denied", f"{user!a} is not in the group {group!a}", reason="user_denied")

    def _allows_command(self, command: str) -> bool:
        return command in self._commands or any(is_below(command, folder) for folder in self._folders)

    def _check_user(self, named: str | None) -> None:
        user = named or self._default_user or self._own_user
        if self._users and user not in self._users:
            shown = f"user {user!a}" if user else "user: none given, so the daemon's own account"
            raise GateError("command_denied", f"{shown} is not in allow_users", reason="user_denied")
        if named is not None and named not in self._users and named != self._default_user and _is_root(named):
            detail = f"user {named!a} is root; allow_users would have to name it"
            raise GateError("command_denied", detail, reason="user_denied")


def _is_in_group(user: str, group: str) -> bool:
    """Tell whether `group` is one of the account's own; of what is not known the start will complain."""
    try:
        gid = grp.getgrnam(group).gr_gid
        return gid in os.getgrouplist(user, pwd.getpwnam(user).pw_gid)
    except KeyError:
        return True


def is_below(path: str, folder: str) -> bool:
    """Tell whether `path` is in `folder`, by its own name and by where its links lead."""
    if posixpath.normpath(path) != (path.rstrip("/") or "/"):
        return False  # ".." or "//": nobody needs them who means no harm.
    inside = (folder.rstrip("/") + "/", os.path.realpath(folder).rstrip("/") + "/")
    # By name first: to follow the links of a path as long as may be takes milliseconds, and the loop waits.
    return (path.rstrip("/") + "/").startswith(inside) and (os.path.realpath(path) + "/").startswith(inside[1])


def _is_root(user: str) -> bool:
    try:
        return pwd.getpwnam(user).pw_uid == 0
    except KeyError:
        return False
