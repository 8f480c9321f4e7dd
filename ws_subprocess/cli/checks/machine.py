"""What the kernel gives: terminals, open files, and the calls that processes are started and watched with."""

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from ws_subprocess.cli.checks.finding import Finding, ok, problem, problem_from, warning
from ws_subprocess.cli.limits import TERMINALS_MAX, connections_possible, make_room
from ws_subprocess.config.settings import Settings
from ws_subprocess.process.posix_spawn import can_set_cwd
from ws_subprocess.process.prctl import adopt_orphans
from ws_subprocess.process.tree import list_children

TERMINALS_USED = Path("/proc/sys/kernel/pty/nr")
LEGACY_TIOCSTI = Path("/proc/sys/dev/tty/legacy_tiocsti")
MOUNTS = Path("/proc/self/mountinfo")


def check_room(settings: Settings) -> Iterator[Finding]:
    """Tell whether there are terminals and open files for `max_sessions`."""
    wanted = settings.max_sessions
    soft, hard = map(_show_limit, resource.getrlimit(resource.RLIMIT_NOFILE))
    try:
        most, used = int(TERMINALS_MAX.read_text()), int(TERMINALS_USED.read_text())
        problems = {item.code: item for item in make_room(wanted, max_waiting=settings.max_waiting)}
    except (OSError, ValueError) as exc:
        yield problem("terminals", f"{TERMINALS_MAX.parent}: cannot be read: {exc}", "mount /proc with all of it")
        return
    if "nofile_too_low" in problems:
        yield problem_from("open_files", problems["nofile_too_low"].text)
    else:
        found = f"soft limit {soft}, hard limit {hard}, max_sessions = {wanted}"
        yield _judge_waiting(found, connections_possible(wanted), settings.max_waiting)
    if "pty_max_too_low" in problems:
        yield problem_from("terminals", problems["pty_max_too_low"].text)
    else:
        yield _judge_terminals(most, used, wanted)


def _show_limit(limit: int) -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else str(limit)


def _judge_waiting(found: str, possible: int, wanted: int) -> Finding:
    if possible < wanted:
        found = f"{found}: besides, {possible} connections can wait, not max_waiting = {wanted}"
        return warning("open_files", found, "raise the hard limit (ulimit -Hn, LimitNOFILE) or lower max_waiting")
    return ok("open_files", f"{found}, max_waiting = {wanted}")


def _judge_terminals(most: int, used: int, wanted: int) -> Finding:
    found = f"kernel.pty.max {most}, {used} in use, max_sessions = {wanted}"
    try:
        for descriptor in os.openpty():
            os.close(descriptor)
    except OSError as exc:
        return problem("terminals", f"{found}: none can be opened: {exc.strerror}", "mount devpts at /dev/pts")
    if most - used < wanted:
        advice = f"sysctl kernel.pty.max={used + wanted + 64}, or lower max_sessions"
        return warning("terminals", f"{found}: others hold too many", advice)
    return ok("terminals", found)


def check_kernel(settings: Settings) -> Iterator[Finding]:
    """Tell whether what processes are started and watched with is there."""
    release = f"Linux {os.uname().release}"
    try:
        os.close(os.pidfd_open(os.getpid()))
        adopt_orphans()
    except OSError as exc:
        yield problem(
            "kernel", f"{release}: pidfd or subreaper refused: {exc.strerror}", "Linux 5.4 or newer is needed"
        )
        return
    if not can_set_cwd():
        found = f"{release}, but a C library without posix_spawn_file_actions_addchdir_np"
        yield warning("kernel", found, "glibc 2.29 or musl 1.1.24; until then grants with cwd get 502")
    elif list_children() is None:
        found = f"{release} without CONFIG_PROC_CHILDREN: processes are found by reading the whole table, which is slow"
        yield warning("kernel", found, "take a kernel with that option")
    else:
        yield ok("kernel", f"{release}: pidfd, subreaper, posix_spawn with a directory, lists of children")


def check_terminal_input(settings: Settings) -> Iterator[Finding]:
    """Tell whether commands may put input into their terminal (TIOCSTI, ioctl_tty(2))."""
    advice = "sysctl dev.tty.legacy_tiocsti=0"
    if not LEGACY_TIOCSTI.exists():
        yield warning("tiocsti", "commands can type into their own terminal", "Linux 6.2 or newer can forbid it")
    elif LEGACY_TIOCSTI.read_text().strip() == "0":
        yield ok("tiocsti", "dev.tty.legacy_tiocsti = 0: no command types into its terminal")
    else:
        found = "dev.tty.legacy_tiocsti = 1: commands can type into their terminal, past a drop of privileges too"
        yield warning("tiocsti", found, advice)


def check_proc(settings: Settings, mounts: Path = MOUNTS) -> Iterator[Finding]:
    """Tell whether we see the processes that sessions leave behind."""
    hidden = _find_hidepid(mounts.read_text())
    if hidden in ("0", "off"):
        yield ok("proc", "all processes are visible")
    elif os.geteuid() == 0:
        yield ok("proc", f"hidepid={hidden}, which does not bind root")
    else:
        found = f"hidepid={hidden}: what a setuid program leaves behind is not found"
        yield warning("proc", found, "keep allow_setuid off, or mount /proc with a gid= that this account has")


def _find_hidepid(mounts: str) -> str:
    """Return the option `hidepid` of /proc (proc(5)), "0" where it is not set."""
    found = "0"
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        if before.split()[4] == "/proc":  # The last one lies on top.
            options = dict(option.partition("=")[::2] for option in after.split()[-1].split(","))
            found = options.get("hidepid", "0")
    return found
