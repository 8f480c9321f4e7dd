"""As whom commands run, and what holds them."""

import os
from collections.abc import Iterator

from ws_subprocess.cli.accounts import check_account as find_problems
from ws_subprocess.cli.checks.finding import Finding, ok, problem_from, warning
from ws_subprocess.config.settings import Settings
from ws_subprocess.process.accounts import find_account, find_own_entry
from ws_subprocess.process.cgroup_places import CONTROLLERS, find_own_places, open_places


def check_account(settings: Settings) -> Iterator[Finding]:
    """Tell as whom commands run that name nobody themselves."""
    if settings.user or settings.group:
        yield from _check_switch(settings.user, settings.group)
    elif os.geteuid() == 0:
        found = "root: every command that is approved runs as root too"
        yield warning("account", found, "set user, or start the daemon as another")
    else:
        yield ok("account", f"commands run as {find_own_entry().pw_name}, like the daemon")
    if settings.allow_setuid:
        found = "allow_setuid is on: setuid programs such as sudo work in sessions"
        yield warning("setuid", found, "switch it off unless commands need it")
    else:
        yield ok("setuid", "allow_setuid is off: no command gains privileges")


def _check_switch(user: str, group: str) -> Iterator[Finding]:
    problems = find_problems(user, group)
    yield from (problem_from("account", item.text) for item in problems)
    if not problems:
        account = find_account(user or None, group or None)
        yield ok("account", f"commands run as {account.name} (uid {account.uid}, gid {account.gid})")


def check_cgroups(settings: Settings) -> Iterator[Finding]:
    """Tell whether grants can limit the memory and the processes of a whole tree."""
    # Nothing is moved and nothing made: what the daemon, alone in its group, could open for itself is not counted.
    usable = open_places(find_own_places(), may_move=False).keys()
    missing = sorted(CONTROLLERS - usable)
    if not missing:
        yield ok("cgroups", f"{' and '.join(sorted(usable))} can be limited")
        return
    found = f"{' and '.join(missing)} cannot be limited for a whole tree, as seen from here"
    yield warning("cgroups", found, "start the daemon in a unit with Delegate=yes, if grants set such limits")
