"""The account that commands run as by default, checked before the first client comes."""

from collections.abc import Iterator

from ws_subprocess.config.problems import Problem
from ws_subprocess.process.accounts import AccountError, find_account, find_missing_capabilities


def check_account(user: str, group: str) -> list[Problem]:
    """Return what keeps commands from running as `user` and `group`; "" names nobody."""
    return list(_find_problems(user, group))


def _find_problems(user: str, group: str) -> Iterator[Problem]:
    if not user and not group:
        return
    try:
        find_account(user or None, group or None)
    except AccountError as exc:
        yield Problem(exc.key, "bad_user", f"{exc.key} = {exc.name}: {exc.why}")
        return
    if missing := find_missing_capabilities():
        key, name = ("user", user) if user else ("group", group)
        text = f"{key} = {name}: root lacks the rights for it here; give the daemon {', '.join(missing)}"
        yield Problem(key, "bad_user", text)
