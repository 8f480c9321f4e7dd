"""Tells the service manager how far we are; see sd_notify(3)."""

import logging
import os
import socket

log = logging.getLogger(__name__)


def notify(state: str) -> None:
    """Send `READY=1` or `STOPPING=1` to whoever set NOTIFY_SOCKET; do nothing when nobody did."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        # The name of a socket in the abstract namespace begins with a NUL; see unix(7).
        address = "\0" + address[1:]
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sock:
            sock.sendto(state.encode("ascii"), address)
    except OSError as exc:
        log.warning("service manager not told", extra={"state": state, "reason": exc.strerror})
