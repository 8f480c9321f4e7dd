"""Where to listen: the argument HOST:PORT, checked and bound."""

import argparse
import ipaddress
import socket
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Address:
    """A loopback address. Port 0 lets the system choose."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


def address(text: str) -> Address:
    """Parse `127.0.0.1:8867`, `localhost:8867` or `[::1]:8867`.

    Raises:
        argparse.ArgumentTypeError: It is none of these; or it is not loopback, and everybody on the network could then
            read the demo's passwords and log in.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdecimal() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not HOST:PORT, such as 127.0.0.1:8867")
    if not _is_loopback(host):
        raise argparse.ArgumentTypeError(
            f"{host} is not a loopback address, and this demo shows its passwords to everybody: "
            "listen on 127.0.0.1 and come from elsewhere through ssh -L"
        )
    return Address(host, int(port))


def listen(wanted: Address) -> socket.socket:
    """Return a socket that accepts connections from now on.

    Raises:
        OSError: The address cannot be had, for one because it is in use.
    """
    family = socket.AF_INET6 if ":" in wanted.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((wanted.host, wanted.port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
