"""The only place that starts processes; it keeps the list of those that live.

Laws: no Grant, no process; what was checked before the spawn is checked again by the kernel, whose error number reaches
the caller; a failed start leaves no process and no descriptor.
"""

import asyncio
import errno
import logging
import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import assert_never

from ws_subprocess.errors import CapacityError, SpawnError
from ws_subprocess.model import Grant, SessionId, Size
from ws_subprocess.process import prctl, tree
from ws_subprocess.process.accounts import find_missing_capabilities, find_terminal_gid
from ws_subprocess.process.become import Step, StepError
from ws_subprocess.process.cgroup import Cgroup, remove_leftovers
from ws_subprocess.process.cgroup_places import find_own_places
from ws_subprocess.process.child import LocalChild
from ws_subprocess.process.confinement import NO_DEFAULTS, ChildDefaults, Confined, Confiner
from ws_subprocess.process.environ import Environment
from ws_subprocess.process.fork_exec import build_order, spawn_confined
from ws_subprocess.process.fork_server import ForkServer
from ws_subprocess.process.posix_spawn import can_set_cwd, spawn, watch
from ws_subprocess.process.streams import BURST_BYTES
from ws_subprocess.process.wiring import Wiring, wire_pipes, wire_terminal

_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM, errno.ENOSPC})
_RETRY_AFTER_S = 1
# What a start holds open at a time: both ends of its terminal or pipes; and a pidfd, or before that, to be confined,
# the order and a pair of sockets.
_FILES_FOR_TERMINAL, _FILES_FOR_PIPES = 2, 6
_FILES_TO_START, _FILES_TO_CONFINE = 1, 3

log = logging.getLogger(__name__)


class Spawner:
    """Starts granted commands on this machine.

    Args:
        input_limit_bytes: Bound of each child's queue of unwritten input.
        owns_process: True when every child of this process is ours (the daemon), False inside somebody else's program.
            Only then are orphans adopted, which makes "is anything left of this session?" one small read, and only
            then does it hide from commands of its own account.
        child_nofile: Soft limit of open files for children, when the daemon raised its own; None leaves it alone.
        defaults: What holds for children whose grant says nothing about it.
        allows_setuid: False forbids this process, from its first child on, and all its children to gain privileges
            (PR_SET_NO_NEW_PRIVS, prctl(2)); only for one that owns itself.
    """

    def __init__(
        self,
        input_limit_bytes: int,
        owns_process: bool,
        child_nofile: int | None = None,
        defaults: ChildDefaults = NO_DEFAULTS,
        allows_setuid: bool = True,
    ) -> None:
        self._input_limit_bytes = input_limit_bytes
        self._owns_process = owns_process
        self._child_nofile = child_nofile
        self._must_forbid_setuid = not allows_setuid
        self._confiner = Confiner(defaults, owns_process, child_nofile)
        self._fork_server = ForkServer() if ForkServer.is_possible() else None
        self._environment = Environment()
        self._children: dict[int, LocalChild] = {}
        # When the first child started, in ticks; what is older (a browser that was opened for a person) is no child's.
        self._since: int | None = None
        self._scratch = memoryview(bytearray(BURST_BYTES))
        if owns_process:
            prctl.adopt_orphans()
            # Commands may be of our own account: they shall not read our keys and tokens, nor have what we were given.
            prctl.forbid_inspection()
            prctl.clear_ambient_capabilities()
            remove_leftovers(find_own_places().folders)
            self._confiner.find_cgroups()

    def check_room(self, grant: Grant) -> None:
        """Pass a grant that there are descriptors left to start with, so that no token is used up for a start in vain.

        Raises:
            CapacityError: There are not.
        """
        wanted = _FILES_FOR_TERMINAL if grant.tty else _FILES_FOR_PIPES
        wanted += _FILES_TO_CONFINE if self._confiner.concerns(grant.confinement) else _FILES_TO_START
        fds: list[int] = []
        try:
            fds.append(os.pidfd_open(os.getpid()))  # Any would do.
            fds.extend(os.dup(fds[0]) for _ in range(wanted - 1))
        except OSError as exc:
            raise _explain(exc, grant) from exc
        finally:
            for fd in fds:
                os.close(fd)

    def start(self, grant: Grant, session: SessionId, size: Size) -> LocalChild:
        """Start the granted command; nothing is read or told before `LocalChild.start`.

        Raises:
            SpawnError: The command or its directory cannot be used; `detail` says why.
            CapacityError: The machine has no process, descriptor, terminal or memory to give now.
        """
        if self._must_forbid_setuid:
            # Not before the first child: a browser opened for a person may need its setuid sandbox or launcher. But
            # before the fork server, which hands it on to its children.
            prctl.forbid_new_privileges()
            self._must_forbid_setuid = False
        try:
            with ExitStack() as done, ExitStack() as undo:
                confined = self._confiner.confine(grant.confinement, session)
                if confined is not None:
                    undo.callback(self._confiner.discard, confined.cgroup)
                    done.callback(confined.close)
                wiring = wire_terminal(size) if grant.tty else wire_pipes()
                undo.callback(wiring.close_ours)
                done.callback(wiring.close_childs)
                pid = self._spawn(grant, session, wiring, confined)
                pidfd = watch(pid)
                undo.pop_all()
        except OSError as exc:
            raise _explain(exc, grant) from exc
        return self._enroll(pid, pidfd, session, wiring, confined.cgroup if confined is not None else None)

    def is_tree_empty(self, child: LocalChild) -> bool:
        """Tell whether nothing but the leader is left of a child whose leader has exited."""
        orphans = self._list_orphans() if self._owns_process else None
        if orphans is None:
            return not child.find_members()
        if not orphans:
            return True
        # An orphan that has ended only waits for us; one that lives may belong to any session, so look closer.
        tree.reap(orphans)
        return not child.find_members()

    def strike(self, child: LocalChild) -> None:
        """Take a closed child off the list; with the last one go orphans that no session could claim."""
        self._children.pop(child.pid, None)
        self._confiner.discard(child.cgroup)
        if self._owns_process and not self._children:
            self.sweep()

    def sweep(self) -> None:
        """Reap orphans that have ended, and kill those that can belong to no living child: older than all of them."""
        try:
            self._sweep()
        except OSError as exc:
            # Reading /proc takes a descriptor, and clients may have them all: the next sweep goes on.
            log.warning("cannot look for stray processes", extra={"reason": exc.strerror})
        self._confiner.retry()

    def _spawn(self, grant: Grant, session: SessionId, wiring: Wiring, confined: Confined | None) -> int:
        account = confined.confines.account if confined is not None else None
        environment = self._environment.build(session, grant.tty, grant.env, account)
        argv = [grant.command, *grant.args]
        if confined is None:
            if grant.cwd is not None and not can_set_cwd():
                raise SpawnError("spawn_cwd", f"cwd {grant.cwd!r}: this libc cannot set it (glibc 2.29 or newer can)")
            with _soft_nofile(self._child_nofile):
                return spawn(grant.command, argv, environment, wiring.actions, grant.cwd)
        if account is not None:
            try:
                wiring.give_to(account.uid, account.gid, find_terminal_gid())
            except OSError as exc:
                raise StepError(Step.USER, exc.errno or errno.EPERM) from exc
        order = build_order(argv, environment, wiring.actions, grant.cwd, confined.confines)
        return spawn_confined(order, self._fork_server)

    def close(self) -> None:
        """End what serves all sessions, once the last has ended; another start is possible all the same."""
        self._confiner.close()
        if self._fork_server is not None:
            self._fork_server.close()

    def _list_orphans(self) -> set[int] | None:
        """Return our children that lead no session; None where the kernel does not tell."""
        children = tree.list_children()
        if children is None:
            return None
        return children - self._children.keys() - (self._fork_server.pids if self._fork_server else frozenset())

    def _sweep(self) -> None:
        orphans = self._list_orphans()
        if not orphans:
            return
        if self._since is not None and (strays := tree.find_strays(orphans, self._children, self._since)):
            log.warning("killing stray processes", extra={"pids": [row.pid for row in strays]})
            tree.stop_and_kill(strays)
        tree.reap(orphans)

    def _enroll(self, pid: int, pidfd: int, session: SessionId, wiring: Wiring, cgroup: Cgroup | None) -> LocalChild:
        child = LocalChild(
            asyncio.get_running_loop(),
            self,
            session,
            pid,
            pidfd,
            wiring,
            self._input_limit_bytes,
            self._scratch,
            cgroup,
        )
        self._children[pid] = child
        if self._since is None:
            self._since = _read_start_time(pid)
        return child


def _read_start_time(pid: int) -> int | None:
    try:
        row = tree.read_row(pid)
    except OSError:  # No descriptor to be had just now; the next child will tell.
        return None
    return None if row is None else row.start_time


@contextmanager
def _soft_nofile(soft: int | None) -> Iterator[None]:
    """Give children started in the block this soft limit of open files, which is ours meanwhile; None leaves it alone.

    A limit set afterwards from outside (prlimit(2)) would come too late for a quick child. What is open stays open.
    """
    if soft is None:
        yield
        return
    ours, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, ours), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (ours, hard))


def _explain(exc: OSError, grant: Grant) -> SpawnError | CapacityError:
    """Turn an error number into words for the log: which of command, directory or machine was it."""
    if exc.errno in _NO_ROOM:
        return CapacityError("no_resources", f"{grant.command}: {exc.strerror}", _RETRY_AFTER_S)
    if isinstance(exc, StepError):
        return _explain_step(exc, grant)
    if grant.cwd is not None and not (os.path.isdir(grant.cwd) and os.access(grant.cwd, os.X_OK)):
        return SpawnError("spawn_cwd", f"cwd {grant.cwd!r}: {exc.strerror}")
    return SpawnError("spawn_failed", f"command {grant.command!r}: {exc.strerror}")


def _explain_step(exc: StepError, grant: Grant) -> SpawnError:
    match exc.step:
        case Step.CGROUP | Step.LIMITS:
            return SpawnError("spawn_limits", f"{grant.command}: {exc.step.name.lower()}: {exc.strerror}")
        case Step.USER:
            user = grant.confinement.user or "of the settings"
            missing = ", ".join(find_missing_capabilities()) or "nothing"
            return SpawnError("spawn_user", f"user {user}: {exc.strerror}; missing: {missing}")
        case Step.CWD:
            return SpawnError("spawn_cwd", f"cwd {grant.cwd!r}: {exc.strerror}")
        case Step.WIRE | Step.EXEC:
            return SpawnError("spawn_failed", f"command {grant.command!r}: {exc.strerror}")
        case _:
            assert_never(exc.step)
