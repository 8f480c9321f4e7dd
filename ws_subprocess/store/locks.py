"""One daemon for one place of jobs: a second one would take the jobs of the first for those of a dead one."""

import fcntl
import os

from ws_subprocess.store.used_tokens import StateError


def keep_others_out(descriptor: int, name: str, setting: str) -> int:
    """Return `descriptor`, which keeps every other daemon out for as long as it is open.

    Args:
        name: What it is of, for people.
        setting: The one that names it.

    Raises:
        StateError: Another daemon is there; then it is closed.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as exc:
        os.close(descriptor)
        advice = f"let it end (`lslocks` names it), or name another {setting}"
        raise StateError(f"{name}: another daemon has its jobs there; {advice}") from exc
    return descriptor
