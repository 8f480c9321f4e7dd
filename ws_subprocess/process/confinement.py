"""From what a grant holds a command to, to what its child does about it on this machine.

Law: what was asked for and cannot be had is an error; nothing is limited only in appearance.
"""

import os
import resource
from dataclasses import dataclass
from functools import cached_property

from ws_subprocess.errors import SpawnError
from ws_subprocess.model import Confinement, SessionId
from ws_subprocess.process import prctl
from ws_subprocess.process.accounts import Account, AccountError, find_account
from ws_subprocess.process.become import Step, StepError
from ws_subprocess.process.cgroup import Cgroup, CgroupMaker, find_cgroups
from ws_subprocess.process.fork_exec import Confines

# SIGXCPU comes with the soft limit, SIGKILL with the hard one.
_CPU_GRACE_S = 1


@dataclass(frozen=True, slots=True)
class Confined:
    """A child's confines with what they hold open until it runs.

    Attributes:
        cgroup: Its control group, if it has one; removed by `discard`, or by whoever ends the session.
    """

    confines: Confines
    cgroup: Cgroup | None

    def close(self) -> None:
        """Close the entrances: the child is in, or will never be."""
        for fd in self.confines.entrances:
            os.close(fd)


@dataclass(frozen=True, slots=True)
class ChildDefaults:
    """What holds for children whose grant says nothing: the account `user` and its `group`, "" for our own."""

    user: str = ""
    group: str = ""


NO_DEFAULTS = ChildDefaults()


class Confiner:
    """Turns grants' confinements into children's.

    Args:
        owns_process: Whether this process may be moved into a control group of its own, as cgroup v2 demands.
        child_nofile: Soft limit of open files for children whose grant names none; None leaves it alone.
    """

    def __init__(self, defaults: ChildDefaults, owns_process: bool, child_nofile: int | None) -> None:
        self._user = defaults.user or None
        self._group = defaults.group or None
        self._owns_process = owns_process
        self._child_nofile = child_nofile

    @cached_property
    def cgroups(self) -> CgroupMaker:
        """What makes control groups; looked for with the first grant that wants one, or by `find_cgroups` before."""
        return find_cgroups(self._owns_process)

    def find_cgroups(self) -> None:
        """Look for control groups now: with v2 a daemon must be alone in its own, so before its first child."""
        _ = self.cgroups

    def confine(self, asked: Confinement, session: SessionId) -> Confined | None:
        """Return how a child becomes confined, None when it is not to be.

        Raises:
            SpawnError: This machine cannot do what was asked; the code and the detail say what.
            StepError: A control group cannot be made.
            OSError: There are no descriptors to be had.
        """
        if not self.concerns(asked):
            return None
        account = self._find_account(asked)
        limits = self._find_limits(asked, account)
        group = self._make_group(asked, session)
        try:
            entrances = tuple(group.open_entrances()) if group else ()
        except OSError:
            self.discard(group)
            raise
        space = self._find_address_space(asked)
        return Confined(Confines(limits, space, entrances, asked.umask, account, asked.no_new_privs), group)

    def concerns(self, asked: Confinement) -> bool:
        """Tell whether a child is to be confined at all."""
        return bool(asked.user or asked.group or self._user or self._group) or _has_effect(asked)

    def discard(self, group: Cgroup | None) -> None:
        """Remove the group of a child that has not come to life, or has ended."""
        if group is not None:
            self.cgroups.release(group)

    def retry(self) -> None:
        """Remove control groups that could not be removed when their sessions ended."""
        if "cgroups" in self.__dict__:  # Else none was ever made.
            self.cgroups.retry()

    def close(self) -> None:
        """Remove them for the last time, and wait a moment for those whose processes were killed just now."""
        if "cgroups" in self.__dict__:
            self.cgroups.close()

    def _find_account(self, asked: Confinement) -> Account | None:
        user = asked.user or self._user
        # The group of the settings goes with the account of the settings.
        group = asked.group or (self._group if asked.user is None else None)
        if user is None and group is None:
            return None
        try:
            return find_account(user, group)
        except AccountError as exc:
            raise SpawnError("spawn_user", str(exc)) from exc

    def _make_group(self, asked: Confinement, session: SessionId) -> Cgroup | None:
        if asked.memory_bytes is None and asked.processes is None:
            return None
        try:
            return self.cgroups.make(session, asked.memory_bytes, asked.processes)
        except OSError as exc:
            raise StepError(Step.CGROUP, exc.errno or 0) from exc

    def _find_limits(self, asked: Confinement, account: Account | None) -> tuple[tuple[int, int, int], ...]:
        limits: list[tuple[int, int, int]] = []
        if asked.open_files is not None:
            limits.append(_bound(resource.RLIMIT_NOFILE, asked.open_files))
        elif self._child_nofile is not None:
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            limits.append((resource.RLIMIT_NOFILE, min(self._child_nofile, soft), hard))
        if asked.cpu_s is not None:
            limits.append(_bound(resource.RLIMIT_CPU, asked.cpu_s, _CPU_GRACE_S))
        if asked.processes is not None and not self.cgroups.can_limit("pids"):
            if (os.getuid() if account is None else account.uid) == 0:
                detail = (
                    f"max_processes {asked.processes}: needs a writable pids cgroup, RLIMIT_NPROC does not hold root"
                )
                raise SpawnError("spawn_limits", detail)
            limits.append(_bound(resource.RLIMIT_NPROC, asked.processes))
        return tuple(limits)

    def _find_address_space(self, asked: Confinement) -> int | None:
        if asked.memory_bytes is None or self.cgroups.can_limit("memory"):
            return None
        return _bound(resource.RLIMIT_AS, asked.memory_bytes)[1]


def _has_effect(asked: Confinement) -> bool:
    limits = (asked.memory_bytes, asked.processes, asked.cpu_s, asked.open_files, asked.umask)
    if any(limit is not None for limit in limits):
        return True
    return asked.no_new_privs and not prctl.are_new_privileges_forbidden()


def _bound(kind: int, most: int, grace: int = 0) -> tuple[int, int, int]:
    """Return soft and hard limit for `most`, as low as our own: a grant limits, it gives nothing that we have not."""
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY:
        return kind, most, most + grace
    return kind, min(most, hard), min(most + grace, hard)
