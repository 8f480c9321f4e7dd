"""Control groups: one per limited session, which holds its whole tree to so much memory and so many processes.

Laws: a group is named after the daemon that made it and its session, so that what a killed daemon left is known as
such; it is removed when its session has ended; its members are of the session, whatever they did to hide.
"""

import errno
import logging
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ws_subprocess.model import SessionId
from ws_subprocess.process import tree
from ws_subprocess.process.cgroup_places import find_own_places, open_places

_PREFIX = "ws-subprocess"
_NAME = re.compile(rf"{_PREFIX}\.([0-9]+)\.([0-9]+)\.[0-9a-f]+")

# How long to wait for killed processes when the daemon itself is about to end, and how often to look.
_LEAVE_MAX_S, _LEAVE_POLL_S = 0.1, 0.001

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Cgroup:
    """The groups of one session: one folder, or one per controller where each has its own tree (v1)."""

    folders: tuple[Path, ...]

    def open_entrances(self) -> list[int]:
        """Open `cgroup.procs` of each group: a process that writes 0 there is in it.

        Raises:
            OSError: There are no descriptors to be had; none is left open.
        """
        fds: list[int] = []
        try:
            fds.extend(os.open(folder / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC) for folder in self.folders)
        except OSError:
            for fd in fds:
                os.close(fd)
            raise
        return fds

    def list_pids(self) -> set[int]:
        """Return its processes, those of groups that a command made in it too."""
        pids: set[int] = set()
        for folder in self.folders:
            for name, _, _ in os.walk(folder):
                try:
                    pids.update(map(int, Path(name, "cgroup.procs").read_text().split()))
                except OSError as exc:
                    # Gone before it was opened or read; or threaded (v2, by a command that is root): the processes of
                    # such groups stand in the one above.
                    if exc.errno not in (errno.ENOENT, errno.ENODEV, errno.EOPNOTSUPP):
                        raise
        return pids

    def kill(self) -> None:
        """Let no process fork any more, and kill all where the kernel does that (v2, Linux 5.14)."""
        for folder in self.folders:
            _write_if_there(folder / "pids.max", "0")
            _write_if_there(folder / "cgroup.kill", "1")

    def remove(self) -> bool:
        """Remove it; False while something of it has not gone."""
        are_removed = [_remove(folder) for folder in self.folders]
        return all(are_removed)


class CgroupMaker:
    """Makes groups where this machine lets us.

    Args:
        folders: By controller, as `open_places` gives them.
    """

    def __init__(self, folders: dict[str, Path]) -> None:
        self._folders = folders
        ours = tree.read_row(os.getpid())
        self._mark = f"{_PREFIX}.{os.getpid()}.{ours.start_time if ours else 0}"
        self._ended: list[Cgroup] = []

    def can_limit(self, controller: str) -> bool:
        """Tell whether `memory` or `pids` can be limited."""
        return controller in self._folders

    def make(self, session: SessionId, memory_bytes: int | None, processes: int | None) -> Cgroup | None:
        """Make a group with those limits that can be set here; None when there is nothing to limit.

        Raises:
            OSError: The kernel refused; nothing is left.
        """
        wanted = {"memory": memory_bytes, "pids": processes}
        limits = {name: most for name, most in wanted.items() if most is not None and self.can_limit(name)}
        if not limits:
            return None
        self.retry()
        name = f"{self._mark}.{session}"
        group = Cgroup(tuple(sorted({self._folders[controller] / name for controller in limits})))
        try:
            for folder in group.folders:
                folder.mkdir()
            for controller, most in limits.items():
                _LIMITERS[controller](self._folders[controller] / name, most)
        except OSError:
            group.remove()
            raise
        return group

    def release(self, group: Cgroup) -> None:
        """Remove the group of a session that has ended, now or as soon as the kernel lets it go."""
        self._ended.append(group)
        self.retry()

    def retry(self) -> None:
        """Remove what could not be removed before."""
        self._ended = [group for group in self._ended if not group.remove()]

    def close(self) -> None:
        """Remove what is left: nobody will try again. A killed process leaves its group within a millisecond."""
        until_s = time.monotonic() + _LEAVE_MAX_S
        self.retry()
        while self._ended and time.monotonic() < until_s:
            time.sleep(_LEAVE_POLL_S)
            self.retry()


def find_cgroups(may_move: bool) -> CgroupMaker:
    """Return what makes groups on this machine; it can limit nothing where there is no way.

    Args:
        may_move: Whether this process may be moved into a group of its own (v2).
    """
    return CgroupMaker(open_places(find_own_places(), may_move))


def remove_leftovers(folders: Iterable[Path]) -> None:
    """Remove empty groups of daemons that are no more."""
    # In a container they are visible as a rule, and not ours to write.
    writable = [folder for folder in set(folders) if os.access(folder, os.W_OK)]
    for path in (path for folder in writable for path in folder.glob(f"{_PREFIX}.*")):
        if (match := _NAME.fullmatch(path.name)) is None:
            continue
        maker = tree.read_row(int(match[1]))
        if (maker is None or maker.start_time != int(match[2])) and not _remove(path):
            log.warning("processes of a daemon that is no more live on", extra={"cgroup": str(path)})


def _limit_memory(folder: Path, most: int) -> None:
    if (folder / "memory.max").exists():
        (folder / "memory.max").write_text(str(most))
        _write_if_there(folder / "memory.swap.max", "0")
    else:
        (folder / "memory.limit_in_bytes").write_text(str(most))
        _write_if_there(folder / "memory.memsw.limit_in_bytes", str(most))


def _limit_processes(folder: Path, most: int) -> None:
    (folder / "pids.max").write_text(str(min(most, _PIDS_MAX)))


# PID_MAX_LIMIT of 64-bit Linux: the file takes no more, and no machine has more.
_PIDS_MAX = 4 * 1024 * 1024
_LIMITERS = {"memory": _limit_memory, "pids": _limit_processes}


def _write_if_there(path: Path, text: str) -> None:
    # Not write_text: that would make the file in a group that has none such.
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


def _remove(folder: Path) -> bool:
    try:
        for name, _, _ in os.walk(folder, topdown=False):
            os.rmdir(name)
    except FileNotFoundError:
        return True
    except OSError:  # EBUSY: a process that was killed has not left yet.
        return False
    return True
