"""HTTP to places that clients name: nowhere but where the operator lets us go.

Laws: https, or http to hosts that are listed; the ports that are listed; every address of the name must be a public one
or in a network that is listed, however it is written, and the connection goes to an address that was looked at just
now, while the certificate must be the name's; no redirect is followed, no proxy of the environment used.
"""

import asyncio
import base64
import functools
import hashlib
import hmac
import ipaddress
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx

from ws_subprocess.auth.client_tls import build_context
from ws_subprocess.auth.questions import Questions
from ws_subprocess.errors import RequestError

URL_MAX_CHARS = 2048
ATTEMPT_TIMEOUT_S = 10.0
_ANSWER_MAX_BYTES = 4096
_LOOKUPS_MAX = 4
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"http": 80, "https": 443}

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Awaitable[Sequence[str]]]


@dataclass(frozen=True, slots=True)
class OutgoingRules:
    """Where we may go, and what our requests are signed with.

    Attributes:
        http_hosts: Names, in lower case, that may be called without TLS.
        networks: That are allowed although they are not public.
    """

    hmac_key: bytes = field(repr=False)
    ports: frozenset[int] = frozenset({443})
    http_hosts: frozenset[str] = frozenset()
    networks: tuple[Network, ...] = ()


class UndeliveredError(Exception):
    """A request was not taken; `is_final` when there is no use in trying again."""

    def __init__(self, text: str, is_final: bool) -> None:
        super().__init__(text)
        self.is_final = is_final


class Names:
    """The system's resolver, on threads of its own: where a name's servers are silent, nothing else shall wait."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_LOOKUPS_MAX, thread_name_prefix="names")

    async def look_up(self, host: str, port: int) -> Sequence[str]:
        """Return the addresses of `host`.

        Raises:
            OSError: There are none.
        """
        ask = functools.partial(socket.getaddrinfo, host, port, type=socket.SOCK_STREAM)
        found = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
        return [str(address[0]) for *_, address in found]

    def close(self) -> None:
        """Look nothing up any more; what is under way goes on to its end."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Outgoing:
    """Sends signed requests to places that clients name.

    Args:
        tls: Whose certificates are believed; None for the public ones.
        resolve: Returns the addresses of a name; None for the system's resolver.
        attempt_timeout_s: For an answer of a resolver, and for a delivery as a whole.
    """

    def __init__(
        self,
        rules: OutgoingRules,
        tls: ssl.SSLContext | None = None,
        resolve: Resolve | None = None,
        attempt_timeout_s: float = ATTEMPT_TIMEOUT_S,
    ) -> None:
        self._rules = rules
        self._tls = tls
        self._names = Names()
        self._resolve = resolve or self._names.look_up
        self._attempt_timeout_s = attempt_timeout_s

    def close(self) -> None:
        """Go nowhere any more."""
        self._names.close()

    async def check(self, text: str) -> None:
        """Pass a URL that we may go to now.

        Raises:
            RequestError: `callback_denied`; says what is wrong with it.
        """
        url = _parse(text)
        try:
            async with asyncio.timeout(self._attempt_timeout_s):
                await self._find_addresses(url)
        except TimeoutError as exc:
            raise _deny_host(url.host) from exc

    async def post(self, text: str, body: bytes, delivery: str, timestamp: int) -> None:
        """Deliver a JSON body, signed as Standard Webhooks has it.

        Args:
            delivery: The same for each attempt, so that the receiver can tell one that it has had.
            timestamp: Unix time.

        Raises:
            UndeliveredError: It was not taken.
        """
        try:
            async with asyncio.timeout(self._attempt_timeout_s):
                await self._post(_parse(text), body, delivery, timestamp)
        except RequestError as exc:
            raise UndeliveredError(exc.detail, is_final=False) from exc
        except TimeoutError as exc:
            raise UndeliveredError(f"no answer within {self._attempt_timeout_s:g} s", is_final=False) from exc
        except httpx.HTTPError as exc:
            raise UndeliveredError(type(exc).__name__, is_final=False) from exc

    async def _post(self, url: httpx.URL, body: bytes, delivery: str, timestamp: int) -> None:
        address = secrets.choice(await self._find_addresses(url))
        headers = {
            "Host": url.netloc.decode("ascii"),
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": "ws-subprocess",
            **sign(self._rules.hmac_key, delivery, timestamp, body),
        }
        target = url.copy_with(host=address)
        name = {"sni_hostname": url.raw_host.decode("ascii")}
        request = httpx.Request("POST", target, headers=headers, content=body, extensions=name)
        if url.scheme == "https" and self._tls is None:
            self._tls = build_context(str(url))
        questions = Questions(target, self._tls if url.scheme == "https" else None)
        deadline_s = asyncio.get_running_loop().time() + self._attempt_timeout_s
        try:
            response, _ = await questions.ask(request, _ANSWER_MAX_BYTES, deadline_s)
        finally:
            await questions.close()
        _check_answer(response.status_code)

    async def _find_addresses(self, url: httpx.URL) -> list[str]:
        host, port = url.host.lower(), url.port or _PORTS.get(url.scheme, 0)
        if url.scheme != "https" and not (url.scheme == "http" and host in self._rules.http_hosts):
            raise _deny(f"scheme {url.scheme[:20]!a}: https, or http to the http_hosts of [callbacks]")
        if port not in self._rules.ports:
            raise _deny(f"port {port} is not in the ports of [callbacks]")
        try:
            addresses = await self._resolve(url.raw_host.decode("ascii").strip("[]"), port)
        except (OSError, UnicodeError) as exc:
            raise _deny_host(host) from exc
        if not addresses or not all(self._allows(text) for text in addresses):
            raise _deny_host(host)
        return list(dict.fromkeys(addresses))

    def _allows(self, text: str) -> bool:
        try:
            address = unwrap(ipaddress.ip_address(text))
        except ValueError:  # With a scope: of this machine's links.
            return False
        if any(address in network for network in self._rules.networks):
            return True
        if isinstance(address, ipaddress.IPv6Address) and address.is_site_local:  # Long deprecated; Python: global.
            return False
        return address.is_global and not address.is_multicast and not address.is_reserved


def unwrap(address: Address) -> Address:
    """Return the IPv4 address that an IPv6 one leads to, where it does: mapped, 6to4, Teredo or NAT64."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None) or address


def sign(key: bytes, delivery: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers of a signed delivery, https://www.standardwebhooks.com."""
    text = f"{delivery}.{timestamp}.".encode("ascii") + body
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode("ascii")
    return {
        "webhook-id": delivery,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{signature}",
    }


def _parse(text: str) -> httpx.URL:
    if len(text) > URL_MAX_CHARS:
        raise _deny(f"{len(text)} characters, at most {URL_MAX_CHARS}")
    try:
        url = httpx.URL(text)
    except (httpx.InvalidURL, ValueError) as exc:
        raise _deny("not a URL") from exc
    if not url.host or url.userinfo or "%" in url.host:
        raise _deny("not https://HOST[:PORT]/PATH, without user and password")
    return url


def _check_answer(status: int) -> None:
    if 200 <= status < 300:
        return
    is_final = status < 500 and status not in (408, 425, 429)
    raise UndeliveredError(f"status {status}", is_final)


def _deny_host(host: str) -> RequestError:
    # Neither whether it has an address nor which: whoever asks would learn of names that only we can look up.
    return _deny(f"host {host[:200]!a} is not, or not only, at public addresses")


def _deny(detail: str) -> RequestError:
    return RequestError("callback_denied", f"callback_url: {detail}")
