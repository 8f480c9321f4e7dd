"""Where control groups can be made for sessions: below the daemon's own ones, so that what holds it holds them too.

cgroup v1 has a tree per controller, v2 one for all; a machine can have some controllers here and some there. In v2 a
group whose children are to be limited may hold no process itself (cgroups(7), "no internal processes"): the daemon then
moves into a leaf, but only if it is alone in its group. That is so in a container and in a systemd unit with
`Delegate=yes`; elsewhere somebody else decides over that group and it is left alone.
"""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

CONTROLLERS = frozenset({"memory", "pids"})
OWN_LEAF = "ws-subprocess.daemon"
_OCTAL = re.compile(r"\\([0-7]{3})")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Places:
    """Our own groups: by controller in v1, and the one in v2 if that is mounted."""

    v1: Mapping[str, Path]
    v2: Path | None

    @property
    def folders(self) -> set[Path]:
        """Every folder that groups of a daemon like this one may stand in."""
        return {*self.v1.values()} | ({self.v2} if self.v2 is not None else set())


def find_own_places() -> Places:
    """Return where this process is; nowhere, where /proc does not tell."""
    try:
        return find_places(Path("/proc/self/cgroup").read_text(), Path("/proc/self/mountinfo").read_text())
    except OSError as exc:
        log.warning("cannot look for control groups", extra={"reason": exc.strerror})
        return Places({}, None)


def find_places(cgroup: str, mountinfo: str) -> Places:
    """Return where /proc/self/cgroup and /proc/self/mountinfo, given as text, say that we are."""
    own: dict[str, str] = {}
    for line in cgroup.splitlines():
        _, controllers, path = line.split(":", 2)
        own.update(dict.fromkeys(controllers.split(","), path))
    v1: dict[str, Path] = {}
    v2: Path | None = None
    for root, mount_point, kind, options in map(_read_mount, mountinfo.splitlines()):
        if kind == "cgroup2" and "" in own:
            v2 = v2 or _locate(own[""], root, mount_point)
        elif kind == "cgroup":
            for controller in CONTROLLERS & own.keys() & options:
                if (folder := _locate(own[controller], root, mount_point)) is not None:
                    v1.setdefault(controller, folder)
    return Places(v1, v2)


def open_places(places: Places, may_move: bool) -> dict[str, Path]:
    """Return by controller the folder that groups can be made in; a controller that cannot be used is missing.

    Args:
        may_move: Whether this process is ours to move into another group.
    """
    found = {controller: folder for controller, folder in places.v1.items() if os.access(folder, os.W_OK | os.X_OK)}
    if places.v2 is not None and (missing := CONTROLLERS - found.keys()):
        found |= _open_unified(places.v2, missing, may_move)
    return found


def _open_unified(own: Path, wanted: Iterable[str], may_move: bool) -> dict[str, Path]:
    try:
        if own.name == OWN_LEAF:
            own = own.parent  # An earlier application of this process has moved it.
        usable = _read_words(own / "cgroup.controllers") & set(wanted)
        if usable - _read_words(own / "cgroup.subtree_control") and not (may_move and _make_way(own, usable)):
            usable &= _read_words(own / "cgroup.subtree_control")
        return dict.fromkeys(usable, own) if os.access(own, os.W_OK | os.X_OK) else {}
    except OSError:
        return {}


def _make_way(own: Path, controllers: Iterable[str]) -> bool:
    """Let children of our own group be limited, for which we leave it; False when somebody else is in it."""
    if _read_words(own / "cgroup.procs") != {str(os.getpid())}:
        return False
    leaf = own / OWN_LEAF
    leaf.mkdir(exist_ok=True)
    (leaf / "cgroup.procs").write_text("0")
    try:
        (own / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in sorted(controllers)))
    except OSError:
        (own / "cgroup.procs").write_text("0")
        leaf.rmdir()
        raise
    return True


def _read_mount(line: str) -> tuple[str, Path, str, set[str]]:
    """Return root, mount point, type and options of the filesystem: proc_pid_mountinfo(5)."""
    left, _, right = line.partition(" - ")
    root, mount_point = (_OCTAL.sub(lambda match: chr(int(match[1], 8)), text) for text in left.split(" ")[3:5])
    kind, _, options = right.split(" ", 2)
    return root, Path(mount_point), kind, set(options.split(","))


def _locate(path: str, root: str, mount_point: Path) -> Path | None:
    """Return the folder of the group `path` in a mount that shows the groups from `root` down."""
    below = os.path.relpath(path, root)
    return None if below.startswith("..") or not path.startswith("/") else mount_point / below


def _read_words(path: Path) -> set[str]:
    return set(path.read_text().split())
