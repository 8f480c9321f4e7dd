"""Where the daemon keeps what must outlive it, when `state_dir` does not say so."""

import os
from collections.abc import Mapping
from pathlib import Path

_FOLDER = "ws-subprocess"


def find_state_dir(environ: Mapping[str, str] = os.environ, uid: int | None = None) -> str:
    """Return the folder that systemd made for us, else the usual one of the account.

    Args:
        uid: The daemon's own if None.
    """
    # With several StateDirectory= these are separated by colons (systemd.exec(5)).
    if given := environ.get("STATE_DIRECTORY", "").partition(":")[0]:
        return given
    # Other than absolute paths are to be ignored (XDG Base Directory Specification).
    if (states := environ.get("XDG_STATE_HOME", "")).startswith("/"):
        return f"{states}/{_FOLDER}"
    home = environ.get("HOME") or _find_home()
    if not home or (os.getuid() if uid is None else uid) == 0:
        return f"/var/lib/{_FOLDER}"
    return f"{home}/.local/state/{_FOLDER}"


def _find_home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # A container's uid need not stand in its passwd file.
        return ""
