"""Which Host and Origin headers are ours. Pure.

Laws: exact comparison of scheme, host and port, never of prefixes or suffixes; a name that somebody else can point at
this machine (DNS rebinding) is refused unless configured; an address cannot be rebound.
"""

import ipaddress
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from ws_subprocess.errors import RequestError

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Origin:
    """A web origin (RFC 6454): lower-case scheme and host, explicit port."""

    scheme: str
    host: str
    port: int


class OriginPolicy:
    """Decides by the Host and Origin headers alone.

    Args:
        allow_origins: Further origins, each `scheme://host[:port]`.
        allow_hosts: Further host names, without port.
        is_origin_required: Refuse at the doors who sends no Origin.
    """

    def __init__(
        self, allow_origins: tuple[str, ...], allow_hosts: tuple[str, ...], is_origin_required: bool = False
    ) -> None:
        self.is_origin_required = is_origin_required
        self._origins = frozenset(parse_origin(text) for text in allow_origins)
        self._hosts = frozenset(name.lower() for name in allow_hosts) | {"localhost"}

    def check(self, scheme: str, host: str | None, origin: str | None) -> None:
        """Pass a request that names us and comes from one of our pages, or from no page at all.

        Args:
            scheme: `http` or `https`, as the client used it.

        Raises:
            RequestError: `host_denied` or `origin_denied`; `detail` names the setting that would allow it.
        """
        own = self._check_host(scheme, host)
        if origin is None:
            return
        try:
            theirs: Origin | None = parse_origin(origin)
        except ValueError:
            theirs = None
        if theirs is None or (theirs != own and theirs not in self._origins):
            raise RequestError("origin_denied", f"{origin[:200]!a} is not in allow_origins")

    def allows_origin(self, origin: str) -> bool:
        """Tell whether pages of this (foreign) origin may use us."""
        try:
            return parse_origin(origin) in self._origins
        except ValueError:
            return False

    def _check_host(self, scheme: str, host: str | None) -> Origin:
        try:
            own: Origin | None = parse_origin(f"{scheme}://{host}") if host else None
        except ValueError:
            own = None
        if own is None or not (own.host in self._hosts or _is_address(own.host)):
            raise RequestError("host_denied", f"{(host or '')[:200]!a} is not in allow_hosts")
        return own


# A page asks again and again with the same two.
@lru_cache(maxsize=32)
def parse_origin(text: str) -> Origin:
    """Return the origin that `text` spells out.

    Raises:
        ValueError: It is none: `null`, a path, a user, a trailing dot, an odd character, another scheme.
    """
    if not text.isascii() or any(character <= " " or character in "\\%" for character in text):
        raise ValueError(f"{text!a}: odd character")
    parts = urlsplit(text)
    scheme = parts.scheme.lower()
    if scheme not in _DEFAULT_PORTS or parts.path or parts.query or parts.fragment or text.endswith(("?", "#")):
        raise ValueError(f"{text!a}: not scheme://host[:port]")
    host = parts.hostname
    # urlsplit passes over what stands behind an address in brackets.
    if "]" in parts.netloc and parts.netloc.rpartition("]")[2][:1] not in ("", ":"):
        raise ValueError(f"{text!a}: bad host")
    if not host or "@" in parts.netloc or host.endswith(".") or parts.netloc.endswith(":"):
        raise ValueError(f"{text!a}: bad host")
    port = parts.port  # Raises ValueError itself when it is no port.
    return Origin(scheme, host, _DEFAULT_PORTS[scheme] if port is None else port)


@lru_cache(maxsize=32)
def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
