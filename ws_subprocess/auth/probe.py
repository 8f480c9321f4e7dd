"""Whether the servers that the gate asks are there: connections that ask nothing, and the keys that are public anyway.

Law: no token is sent to anybody.
"""

import asyncio
import socket
import ssl
import time
from dataclasses import dataclass
from email.utils import parsedate_to_datetime

import httpx
from cryptography import x509

from ws_subprocess.auth.jwks import fetch_keys
from ws_subprocess.auth.questions import Questions

_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Reached:
    """A server that took a connection: `where` it is, and until when its certificate holds (Unix time), with TLS."""

    where: str
    took_s: float
    certificate_expires_at: float | None


@dataclass(frozen=True, slots=True)
class Published:
    """An issuer's answer: how many of its keys can be used, and how far its clock is ahead of ours, if it told."""

    keys: int
    ahead_s: float | None


def reach(url: str, tls: ssl.SSLContext | None, socket_path: str, timeout_s: float) -> Reached:
    """Connect to the server of `url` and close again; blocks. Looking up its name may take longer than `timeout_s`.

    Args:
        tls: What certificates are believed, and which is shown; None for a URL without TLS.
        socket_path: Unix socket that is connected to in place of the URL's host, if not "".

    Raises:
        OSError: It cannot be reached; what TLS refused is an `ssl.SSLError`.
    """
    target = httpx.URL(url)
    begun = time.perf_counter()
    with _connect(target, socket_path, timeout_s) as connection:
        where = socket_path or _show_address(connection)
        if tls is None:
            return Reached(where, time.perf_counter() - begun, None)
        with tls.wrap_socket(connection, server_hostname=target.host) as secured:
            expires_at = _read_expiry(secured.getpeercert(binary_form=True))
            return Reached(where, time.perf_counter() - begun, expires_at)


def look_at_issuer(url: str, timeout_s: float) -> Published:
    """Return what an issuer publishes at `url`; blocks.

    Raises:
        ValueError: It cannot be reached, or its answer is no set of keys; says which.
    """
    try:
        return asyncio.run(_look_at_issuer(httpx.URL(url), timeout_s))
    except TimeoutError as exc:
        raise ValueError(f"no complete answer within {timeout_s:g} s") from exc
    except (httpx.HTTPError, OSError) as exc:
        raise ValueError(str(exc) or type(exc).__name__) from exc


def read_certificate_expiry(pem: bytes) -> float:
    """Return until when the first certificate in `pem` holds, as Unix time.

    Raises:
        ValueError: There is none.
    """
    return x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()


def _connect(target: httpx.URL, socket_path: str, timeout_s: float) -> socket.socket:
    if not socket_path:
        return socket.create_connection((target.host, target.port or _DEFAULT_PORTS[target.scheme]), timeout_s)
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout_s)
        connection.connect(socket_path)
    except OSError:
        connection.close()
        raise
    return connection


def _show_address(connection: socket.socket) -> str:
    host, port = connection.getpeername()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _read_expiry(der: bytes | None) -> float | None:
    return x509.load_der_x509_certificate(der).not_valid_after_utc.timestamp() if der else None


async def _look_at_issuer(url: httpx.URL, timeout_s: float) -> Published:
    questions = Questions(url)
    try:
        response, keys = await fetch_keys(questions, url, timeout_s)
    finally:
        await questions.close()
    return Published(len(keys), _find_lead(response.headers.get("date", "")))


def _find_lead(date: str) -> float | None:
    """Return how many seconds a clock is ahead of ours that shows `date`; None when that is no date."""
    try:
        return parsedate_to_datetime(date).timestamp() - time.time()
    except ValueError:
        return None
