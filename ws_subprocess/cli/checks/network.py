"""Where the daemon listens: free addresses, TLS, and who beyond this machine sees what."""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import assert_never

from ws_subprocess.address import Address, Inherited, Tcp, Unix, parse_listen
from ws_subprocess.auth.probe import read_certificate_expiry
from ws_subprocess.cli.checks.expiry import judge_expiry
from ws_subprocess.cli.checks.finding import Finding, State, ok, problem, problem_from, warning
from ws_subprocess.config.settings import Settings
from ws_subprocess.server.settings import StartError
from ws_subprocess.server.sockets import open_listeners
from ws_subprocess.server.tls import build_context

_LISTENING = "0A"  # TCP_LISTEN in /proc/net/tcp, proc_net_tcp(5).
_PROC = Path("/proc")


def check_listen(settings: Settings) -> Iterator[Finding]:
    """Tell of each address whether the daemon could listen there, and of all whether it could at once."""
    addresses = [parse_listen(text) for text in (*settings.listen, *settings.process_listen)]
    for address in addresses:
        match address:
            case Tcp():
                yield _check_tcp(address)
            case Unix():
                yield _check_unix(address)
            case Inherited():
                yield ok("listen", f"{address}: handed over when the daemon is started, not to be seen from here")
            case _:
                assert_never(address)
    yield from _check_together([address for address in addresses if isinstance(address, Tcp)])


def check_exposure(settings: Settings) -> Iterator[Finding]:
    """Tell what others than this machine get to see."""
    if settings.insecure_listen:
        found = "insecure_listen is on: tokens and terminals may cross the network readable by all"
        yield warning("exposure", found, "give tls_cert and tls_key, or name the proxy in front in trusted_proxies")
    if settings.metrics == "all":
        found = "metrics = all: whoever reaches the daemon reads its figures"
        yield warning("exposure", found, "set metrics to loopback, or keep others from /metrics in the proxy in front")
    if not settings.insecure_listen and settings.metrics != "all":
        yield ok("exposure", f"metrics = {settings.metrics}, insecure_listen is off")


def check_tls(settings: Settings) -> Iterator[Finding]:
    """Tell whether the daemon's certificate and key belong together, and how long it holds."""
    if not settings.tls_cert:
        yield ok("tls", "off: the daemon speaks plain HTTP")
        return
    try:
        build_context(settings.tls_cert, settings.tls_key)
        expires_at = read_certificate_expiry(Path(settings.tls_cert).read_bytes())
    except StartError as exc:
        text = str(exc)
        yield problem_from("tls", text if "; " in text else f"{text}; name a certificate and its key, both in PEM")
        return
    except ValueError as exc:
        yield problem("tls", f"{settings.tls_cert}: {exc}", "name a certificate chain in PEM, the server's own first")
        return
    yield judge_expiry("tls", f"{settings.tls_cert}", expires_at)


def _check_tcp(address: Tcp) -> Finding:
    try:
        for listener in open_listeners([address], 0o600):
            listener.close()
    except StartError as exc:
        if isinstance(exc.__cause__, OSError) and exc.__cause__.errno == errno.EADDRINUSE:
            return _judge_taken(address, _find_listener(address.port))
        return problem_from("listen", str(exc))
    port = "a free port will be taken" if address.port == 0 else "free"
    return ok("listen", f"{address}: {port}")


def _check_together(addresses: list[Tcp]) -> Iterator[Finding]:
    """Yield a problem if each address is free, but not with the others."""
    if any(_check_tcp(address).state is not State.OK for address in addresses):
        return
    try:
        for listener in open_listeners(addresses, 0o600):
            listener.close()
    except StartError:
        found = f"{', '.join(map(str, addresses))}: each is free, but two of them are the same"
        yield problem("listen", found, "leave one of them out")


def _judge_taken(address: Address, pid: int | None) -> Finding:
    if pid is None:
        found, advice = f"{address}: taken by another process", "`ss -ltnxp` shows which; end it or listen elsewhere"
        return problem("listen", found, advice)
    if _is_ours(pid):
        found = f"{address}: a ws-subprocess (pid {pid}) listens there"
        return warning("listen", found, "nothing, if it is the one that is meant; else end it or listen elsewhere")
    return problem("listen", f"{address}: taken by pid {pid} ({_read_name(pid)})", "end it or listen elsewhere")


def _check_unix(address: Unix) -> Finding:
    folder = os.path.dirname(address.path)
    if not os.path.isdir(folder):
        return problem("listen", f"{address}: its directory does not exist", f"make it: mkdir -p {folder}")
    if not os.access(folder, os.W_OK | os.X_OK):
        return problem("listen", f"{address}: its directory is not writable", f"let this account write to {folder}")
    try:
        is_socket = stat.S_ISSOCK(os.lstat(address.path).st_mode)
    except FileNotFoundError:
        return ok("listen", f"{address}: free")
    if not is_socket:
        return problem("listen", f"{address}: there is a file that is no socket", "remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(address.path) == errno.ECONNREFUSED:
            return ok("listen", f"{address}: left behind by a process that has ended, will be replaced")
    return problem("listen", f"{address}: somebody listens there", "`ss -lxp` shows who; end it or listen elsewhere")


def _find_listener(port: int) -> int | None:
    """Return a process that listens on `port`, on whatever address, None when we may not see it."""
    wanted = {f"socket:[{inode}]" for inode in _list_inodes(port)}
    for folder in _PROC.glob("[0-9]*/fd"):
        # Others' processes, and those that have just ended, cannot be looked into.
        with contextlib.suppress(OSError):
            if any(os.readlink(entry) in wanted for entry in folder.iterdir()):
                return int(folder.parent.name)
    return None


def _list_inodes(port: int) -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        with contextlib.suppress(OSError), (_PROC / "net" / name).open() as table:
            for fields in map(str.split, table):
                if fields[3] == _LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    yield fields[9]


def _is_ours(pid: int) -> bool:
    with contextlib.suppress(OSError):
        words = (_PROC / str(pid) / "cmdline").read_bytes().split(b"\0")[:3]
        return any(word.rpartition(b"/")[2] in (b"ws-subprocess", b"ws_subprocess") for word in words)
    return False


def _read_name(pid: int) -> str:
    """Return the name of a process' program; not its arguments, which may be secrets."""
    with contextlib.suppress(OSError):
        return ascii((_PROC / str(pid) / "comm").read_text(errors="replace").strip())[1:-1]
    return "unknown"
