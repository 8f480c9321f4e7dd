"""The account that a command runs as: its ids, groups, home and shell, as the system's databases have them now.

Law: looked up at every start, never remembered: who has been taken out of a group is out of it.
"""

import grp
import os
import pwd
from dataclasses import dataclass
from pathlib import Path

# capabilities(7): what it takes to become somebody else, to give a terminal away, and to end what then runs.
_CAPABILITIES = {"CAP_CHOWN": 0, "CAP_KILL": 5, "CAP_SETGID": 6, "CAP_SETUID": 7}


class AccountError(Exception):
    """There is no such account, or it cannot be taken.

    Attributes:
        key: `user` or `group`.
        name: What it names.
        why: What is wrong, and the way out.
    """

    def __init__(self, key: str, name: str, why: str) -> None:
        super().__init__(f"{key} {name!r}: {why}")
        self.key = key
        self.name = name
        self.why = why


@dataclass(frozen=True, slots=True)
class Account:
    """Who a command is: `gid` is its own group, `groups` are all of them."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str
    shell: str


def find_account(user: str | None, group: str | None = None) -> Account:
    """Return the account that `user` names, or our own, with `group` in the place of its own one.

    Raises:
        AccountError: No such name, or we are not root and could not become it.
    """
    entry = _find_entry(user)
    gid = entry.pw_gid if group is None else _find_gid(group)
    if os.geteuid() != 0:
        key, name = ("user", user) if user is not None else ("group", group or "")
        raise AccountError(key, name, f"only root can set it; this daemon has uid {os.geteuid()}")
    groups = tuple(os.getgrouplist(entry.pw_name, gid))
    return Account(entry.pw_name, entry.pw_uid, gid, groups, entry.pw_dir or "/", entry.pw_shell or "/bin/sh")


def find_own_entry() -> pwd.struct_passwd:
    """Return the account that this process runs as."""
    uid = os.getuid()
    try:
        return pwd.getpwuid(uid)
    except KeyError:  # A container's uid need not stand in its passwd file.
        return pwd.struct_passwd((str(uid), "x", uid, os.getgid(), "", "/", "/bin/sh"))


def find_terminal_gid() -> int | None:
    """Return the group that terminals belong to, so that write(1) works; None where there is none."""
    try:
        return grp.getgrnam("tty").gr_gid
    except KeyError:
        return None


def find_missing_capabilities(status: Path = Path("/proc/self/status")) -> list[str]:
    """Return what root needs for commands of other accounts and has not: a container can take capabilities away."""
    fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
    effective = int(fields["CapEff"], 16)
    return [name for name, bit in _CAPABILITIES.items() if not effective >> bit & 1]


def _find_entry(user: str | None) -> pwd.struct_passwd:
    if user is None:
        return find_own_entry()
    try:
        return pwd.getpwnam(user)
    except KeyError:
        raise AccountError("user", user, "no such account on this machine; make it, or name another") from None


def _find_gid(group: str) -> int:
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise AccountError("group", group, "no such group on this machine; make it, or name another") from None
