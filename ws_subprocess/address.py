"""Where to listen, as text and as values; and which peers count as one. Pure: nothing is looked up or opened.

Forms: `host:port`, `[v6]:port`, `unix:/absolute/path`, `fd:N`, `systemd`.
"""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address

PORT_MAX = 65535
# sun_path of struct sockaddr_un on Linux, less the terminating NUL; see unix(7).
UNIX_PATH_MAX_BYTES = 107

FORMS = "HOST:PORT, [IPV6]:PORT, unix:/PATH, fd:N or systemd"
# Of an IPv6 address, those that a client may choose as it likes (RFC 4291, section 2.5.1).
_HOST_BITS = 64
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,251}[A-Za-z0-9])?")


DOOR_KEY = "door"
"""scope["state"][DOOR_KEY] is the door that a connection's listener leads to; without it, it leads to all."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """A host name or IP address (IPv6 without brackets) and a port; port 0 lets the kernel choose."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """The absolute path of a socket file to be created."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


@dataclass(frozen=True, slots=True)
class Inherited:
    """A listening socket that was open when this process started; `fd` None means all that systemd passed."""

    fd: int | None

    def __str__(self) -> str:
        return "systemd" if self.fd is None else f"fd:{self.fd}"


Address = Tcp | Unix | Inherited


def parse_listen(text: str) -> Address:
    """Return the address that `text` names.

    Raises:
        ValueError: It names none; the message holds the value and the forms there are.
    """
    if text == "systemd":
        return Inherited(fd=None)
    if text.startswith("unix:"):
        return _parse_unix(text)
    if text.startswith("fd:"):
        return _parse_fd(text)
    return _parse_tcp(text)


def format_url(address: Tcp | Unix, path: str = "", *, tls: bool = False) -> str:
    """Return what a person can open, or give to a client: `http://[::1]:8866/path`, `unix:/run/x.sock`."""
    if isinstance(address, Unix):
        return str(address)
    return f"{'https' if tls else 'http'}://{address}{path}"


def group_address(peer: str) -> str:
    """Return what limits per address count `peer` as: its /64 for IPv6, which one client has whole, else itself."""
    address = _parse_peer(peer)
    if not isinstance(address, IPv6Address):
        return peer if address is None else str(address)
    return f"{IPv6Address(int(address) >> _HOST_BITS << _HOST_BITS)}/{128 - _HOST_BITS}"


def is_local(peer: str) -> bool:
    """Tell whether a peer is on this machine, at a loopback address or a unix socket; it may be a proxy for many."""
    address = _parse_peer(peer)
    return address is None or address.is_loopback


def _parse_peer(peer: str) -> IPv4Address | IPv6Address | None:
    """Return a peer's IP address, None when it has none: a unix socket."""
    try:
        address = ip_address(peer)
    except ValueError:
        return None
    # ::ffff:10.0.0.1 is how a socket that serves both families names an IPv4 client.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _parse_unix(text: str) -> Unix:
    path = text.removeprefix("unix:")
    if not path.startswith("/") or path.endswith("/") or "\0" in path:
        raise ValueError(f"{text!r} needs the absolute path of a socket file, as in unix:/run/ws-subprocess.sock")
    if len(path.encode(errors="surrogateescape")) > UNIX_PATH_MAX_BYTES:
        raise ValueError(
            f"{text!r}: the kernel takes at most {UNIX_PATH_MAX_BYTES} bytes of path; choose a shorter one"
        )
    return Unix(path)


def _parse_fd(text: str) -> Inherited:
    number = text.removeprefix("fd:")
    # 0, 1 and 2 are stdin, stdout and stderr; a longer number is no descriptor of any system.
    if not re.fullmatch("[0-9]{1,9}", number) or int(number) < 3:
        raise ValueError(f"{text!r} needs the number of an open descriptor, 3 or more, as in fd:3")
    return Inherited(fd=int(number))


def _parse_tcp(text: str) -> Tcp:
    host, colon, port = text.rpartition(":")
    if not colon:
        raise ValueError(f"{text!r} is no address to listen on; use {FORMS}")
    if text.endswith("]"):
        raise ValueError(f"{text!r} names no port; write {text}:8866")
    if not host:
        raise ValueError(
            f"{text!r} names no host; write 127.0.0.1{text} for this machine only, [::]{text} for everybody"
        )
    if host.startswith("["):
        host = _parse_ipv6(text, host)
    elif ":" in host:
        raise ValueError(f"{text!r}: an IPv6 address needs brackets, as in [::1]:8866")
    elif not _HOST.fullmatch(host):
        raise ValueError(f"{text!r}: {host!r} is no host name or IP address; use {FORMS}")
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > PORT_MAX:
        raise ValueError(f"{text!r}: port {port!r} is not in 0..{PORT_MAX} (0 lets the kernel choose)")
    return Tcp(host, int(port))


def _parse_ipv6(text: str, host: str) -> str:
    if not host.endswith("]"):
        raise ValueError(f"{text!r}: the bracket is not closed; write [::1]:8866")
    address = host[1:-1]
    try:
        IPv6Address(address)
    except AddressValueError as exc:
        raise ValueError(f"{text!r}: {address!r} is no IPv6 address ({exc})") from exc
    return address
