"""Listening sockets, from addresses to descriptors.

Laws:
    A unix socket is never open to more people than it shall be, not for an instant; its file is removed at the end.
    Every connection has TCP_NODELAY: with Nagle's algorithm a keystroke's echo may wait 40 ms for an acknowledgement;
    and SO_KEEPALIVE. On Linux accepted sockets inherit both from the listening one.
"""

import contextlib
import errno
import os
import socket
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import assert_never

from ws_subprocess.address import Address, Inherited, Tcp, Unix
from ws_subprocess.server.settings import StartError

BACKLOG = 2048
# A client whose machine has gone says nothing for ever: after 60 s of silence its kernel is asked, 4 times in a minute.
_KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 15), (socket.TCP_KEEPCNT, 4))
# sd_listen_fds(3): the first descriptor that systemd passes.
_SYSTEMD_FIRST_FD = 3
_ANY_IPV4 = "0.0.0.0"  # noqa: S104 - compared with, not bound to


@dataclass(frozen=True, slots=True)
class Listener:
    """A listening, non-blocking socket; `address` is where it really is; `inode` that of the file this process made."""

    sock: socket.socket
    address: Tcp | Unix
    inode: int | None = None

    def close(self) -> None:
        """Stop listening; remove the socket's file unless somebody has put another in its place."""
        self.sock.close()
        if self.inode is None or not isinstance(self.address, Unix):
            return
        with contextlib.suppress(FileNotFoundError):
            if os.lstat(self.address.path).st_ino == self.inode:
                os.unlink(self.address.path)


def open_listeners(addresses: Sequence[Address], unix_mode: int) -> list[Listener]:
    """Listen on all of `addresses`, or on none.

    Args:
        unix_mode: Permission bits of the unix sockets made here, as 0o600.

    Raises:
        StartError: One cannot be listened on; the text says which, why, and what to do.
    """
    with contextlib.ExitStack() as opened:
        listeners = []
        for address in addresses:
            for listener in _open(address, addresses, unix_mode):
                opened.callback(listener.close)
                listeners.append(listener)
        opened.pop_all()
        return listeners


def _open(address: Address, others: Sequence[Address], unix_mode: int) -> Iterator[Listener]:
    match address:
        case Tcp():
            yield from _open_tcp(address, others)
        case Unix():
            yield _open_unix(address, unix_mode)
        case Inherited(fd=number):
            yield from (_adopt(fd, address) for fd in (_systemd_fds() if number is None else (number,)))
        case _:
            assert_never(address)


def _open_tcp(address: Tcp, others: Sequence[Address]) -> Iterator[Listener]:
    """Listen on every address that the host name has, all on one port."""
    try:
        found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as exc:
        raise StartError(f"cannot listen on {address}: {address.host!r} has no address ({exc.strerror})") from exc
    port, absent = address.port, OSError(errno.EADDRNOTAVAIL, "")
    is_bound = False
    for family, _, _, _, sockaddr in dict.fromkeys(found):
        host = str(sockaddr[0])
        # [::] means everybody, IPv4 included, unless IPv4 has a listener of its own.
        only_v6 = host != "::" or any(isinstance(other, Tcp) and other.host == _ANY_IPV4 for other in others)
        try:
            sock = _bind_tcp(family, (host, port, *sockaddr[2:]), only_v6=only_v6)
        except OSError as exc:
            if exc.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):
                raise _explain(address, exc) from exc
            # `localhost` may have an IPv6 address on a machine without IPv6.
            absent = exc
            continue
        is_bound = True
        port = sock.getsockname()[1]
        yield Listener(sock, Tcp(host, port))
    if not is_bound:
        raise _explain(address, absent) from absent


def _bind_tcp(family: int, sockaddr: tuple[object, ...], *, only_v6: bool) -> socket.socket:
    with contextlib.ExitStack() as opened:
        sock = opened.enter_context(socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _tune(sock)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, only_v6)
        sock.bind(sockaddr)
        sock.listen(BACKLOG)
        opened.pop_all()
        return sock


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _KEEPALIVE:
        sock.setsockopt(socket.IPPROTO_TCP, option, value)


def _open_unix(address: Unix, mode: int) -> Listener:
    with contextlib.ExitStack() as opened:
        sock = opened.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
        try:
            _remove_stale(address)
            # The umask, unlike a chmod afterwards, leaves no instant in which the file is wider.
            umask = os.umask(0o777 & ~mode)
            try:
                sock.bind(address.path)
            finally:
                os.umask(umask)
            sock.listen(BACKLOG)
        except OSError as exc:
            raise _explain(address, exc) from exc
        opened.pop_all()
        return Listener(sock, address, os.lstat(address.path).st_ino)


def _remove_stale(address: Unix) -> None:
    """Remove the socket file of a process that ended without doing so."""
    try:
        mode = os.lstat(address.path).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"cannot listen on {address}: {address.path} is no socket; remove it or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
        if probe.connect_ex(address.path) == errno.ECONNREFUSED:
            os.unlink(address.path)


def _systemd_fds() -> range:
    """Return the descriptors systemd passed to this very process; see sd_listen_fds(3)."""
    pid, count = os.environ.get("LISTEN_PID", ""), os.environ.get("LISTEN_FDS", "")
    if not (pid.isdecimal() and count.isdecimal() and int(count)):
        raise StartError(
            "cannot listen on systemd: LISTEN_PID or LISTEN_FDS is not set; start this from a .socket unit"
        )
    if int(pid) != os.getpid():
        raise StartError(
            f"cannot listen on systemd: LISTEN_PID {pid} is not this process; let systemd start it directly"
        )
    return range(_SYSTEMD_FIRST_FD, _SYSTEMD_FIRST_FD + int(count))


def _adopt(fd: int, address: Inherited) -> Listener:
    with contextlib.ExitStack() as opened:
        try:
            os.set_inheritable(fd, False)
            sock = opened.enter_context(socket.socket(fileno=fd))
            listens = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN) and sock.type == socket.SOCK_STREAM
        except OSError as exc:
            raise StartError(f"cannot listen on {address}: descriptor {fd} is no open socket ({exc.strerror})") from exc
        if not listens:
            raise StartError(f"cannot listen on {address}: descriptor {fd} does not listen; call listen(2) before")
        sock.setblocking(False)
        name = sock.getsockname()
        if sock.family == socket.AF_UNIX:
            listener = Listener(sock, Unix(os.fsdecode(name)))
        else:
            _tune(sock)
            listener = Listener(sock, Tcp(name[0], name[1]))
        opened.pop_all()
        return listener


_WHY = {
    errno.EADDRINUSE: "another process listens there (`ss -ltnxp` shows which); end it or choose another address",
    errno.EADDRNOTAVAIL: "this machine does not have that address; `ip address` shows those it has",
    errno.EACCES: "permission denied; ports below 1024 and other people's directories need privileges",
    errno.ENOENT: "its directory does not exist; make it first",
}


def _explain(address: Tcp | Unix, exc: OSError) -> StartError:
    why = _WHY.get(exc.errno or 0, exc.strerror or str(exc))
    return StartError(f"cannot listen on {address}: {why}")
