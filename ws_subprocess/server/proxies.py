"""Believes X-Forwarded-For and X-Forwarded-Proto, but only when a trusted proxy says it.

Law: each proxy appends whom it saw, so the list is read from its right end for as long as it names trusted proxies; the
first other address is the client's. What stands left of it may be the client's own invention.
"""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from ws_subprocess.server.asgi import Application, Receive, Scope, Send
from ws_subprocess.server.settings import StartError

UNIX = "unix"
_SCHEMES = {"http": ("http", "ws"), "https": ("https", "wss"), "ws": ("http", "ws"), "wss": ("https", "wss")}

_Ip = IPv4Address | IPv6Address


class TrustedProxies:
    """An ASGI application that tells the one inside who its client really is."""

    def __init__(self, application: Application, trusted: tuple[str, ...]) -> None:
        """Prepare.

        Args:
            trusted: Networks or addresses; `unix` for whoever may open our unix sockets.

        Raises:
            StartError: One is neither.
        """
        self._application = application
        self._trusts_unix = UNIX in trusted
        self._networks = [_parse_network(text) for text in trusted if text != UNIX]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan" and self._is_proxy(scope["client"]):
            self._rewrite(scope)
        await self._application(scope, receive, send)

    def trusts(self, host: str) -> bool:
        """Tell whether the peer at this IP address is one of the proxies."""
        # Most daemons have none, and this is asked for every connection.
        address = _parse_address(host) if self._networks else None
        return address is not None and self._trusts(address)

    def _is_proxy(self, client: tuple[str, int] | None) -> bool:
        return self._trusts_unix if client is None else self.trusts(client[0])

    def _trusts(self, address: _Ip) -> bool:
        return any(address in network for network in self._networks)

    def _rewrite(self, scope: Scope) -> None:
        client: _Ip | None = None
        for entry in reversed(_entries(scope, b"x-forwarded-for")):
            address = _parse_address(entry)
            if address is None:
                break
            client = address
            if not self._trusts(address):
                break
        if client is not None:
            scope["client"] = (str(client), 0)
        protos = _entries(scope, b"x-forwarded-proto")
        if protos and protos[-1].lower() in _SCHEMES:
            scope["scheme"] = _SCHEMES[protos[-1].lower()][scope["type"] == "websocket"]


def _entries(scope: Scope, wanted: bytes) -> list[str]:
    lines = [value.decode("latin-1") for name, value in scope["headers"] if name == wanted]
    return [entry.strip() for entry in ",".join(lines).split(",") if entry.strip()]


def _parse_address(text: str) -> _Ip | None:
    """Return the IP address in `1.2.3.4`, `1.2.3.4:5`, `::1` or `[::1]:5`; None for anything else."""
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    # ::ffff:10.0.0.1 is how a socket that serves both families names an IPv4 client.
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _parse_network(text: str) -> IPv4Network | IPv6Network:
    try:
        return ip_network(text)
    except ValueError as exc:
        raise StartError(f"trusted proxy {text!r} is no network ({exc}); write 10.0.0.0/8, ::1 or unix") from exc
