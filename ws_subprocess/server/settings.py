"""What the server is told: addresses, limits, deadlines.

Law: nothing in this package reads the process's environment, except for what a service manager hands over: sockets and
an address to notify.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from ws_subprocess.address import Address, Tcp

WRITE_HIGH_WATER_BYTES = 64 * 1024
"""A connection's `send` reports "full" above this many bytes that the kernel has not taken."""

WRITE_ABORT_BYTES = 1024 * 1024
"""Who writes on above this many bytes does not listen to "full"; the connection is cut."""

LINGER_S = 2.0
"""How long bytes of a peer that was told to go are still read, so that the last words reach it (see `linger`)."""


class StartError(Exception):
    """The server cannot start. The text names the thing, the value and the way out; the exit status is 1."""


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """Everything `serve` needs to know.

    Attributes:
        addresses: Where to listen; at least one.
        doors: Where to listen for one door alone; its name comes as `address.DOOR_KEY` in the requests' `state`.
        unix_mode: Permission bits of unix sockets this server creates.
        tls_cert: PEM file with the certificate chain; None serves plain HTTP.
        tls_key: PEM file with the key; None looks for it in `tls_cert`.
        trusted_proxies: Networks (`10.0.0.0/8`, `::1`), or `unix`, whose X-Forwarded-For and -Proto are believed.
        drain_timeout_s: How long sessions may go on after the first SIGTERM.
        handshake_timeout_s: From the first chance to send a request's head to its last byte, TLS handshake included.
        max_waiting: Connections whose client is to act (see `doorkeeper`); beyond, some are cut at random.
        max_waiting_per_address: Those of one address, or of one /64 of IPv6.
        stall_timeout_s: How long a client may take too little of a response for more of it to be written.
        keep_alive_timeout_s: How long a connection may wait between requests.
        ping_interval_s: Between pings to a websocket client.
        ping_timeout_s: How long a client may show no sign of life after a ping.
        close_timeout_s: How long a client may take to answer our Close.
        compression: Offers permessage-deflate: about 40 KiB more per connection, for slow links.
        max_message_bytes: Largest message a client may send, after decompression.
    """

    addresses: tuple[Address, ...] = (Tcp("127.0.0.1", 8866),)
    doors: Mapping[str, tuple[Address, ...]] = field(default_factory=lambda: MappingProxyType({}))
    unix_mode: int = 0o600
    tls_cert: str | None = None
    tls_key: str | None = None
    trusted_proxies: tuple[str, ...] = ()
    drain_timeout_s: float = 30.0
    handshake_timeout_s: float = 10.0
    max_waiting: int = 1000
    max_waiting_per_address: int = 100
    stall_timeout_s: float = 60.0
    keep_alive_timeout_s: float = 5.0
    ping_interval_s: float = 20.0
    ping_timeout_s: float = 60.0
    close_timeout_s: float = 10.0
    compression: bool = False
    max_message_bytes: int = 1024 * 1024
