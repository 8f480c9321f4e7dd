"""HTTP for `auth`: connections that are reused, and that a cancelled question cannot harm.

Laws: a connection carries one question at a time; one whose question was not answered to the end, or with more than an
answer, is thrown away; a question is put again only when there was no connection, so that nothing of it was sent. A
pool of httpcore's that is cancelled while it opens a connection counts that one for ever, and asks nobody any more when
it has counted to its limit; so each of our connections is a pool of its own.
"""

import asyncio
import errno
import math
import operator
import ssl
import time
from collections.abc import Mapping
from typing import Any

import httpcore
import httpx

from ws_subprocess.auth.client_tls import build_context

# For a server that is just being started again. Longer ones would make the client wait for nothing.
RETRY_PAUSES_S = (0.05, 0.15)
# Below the idle limit of common servers (2 s and more): one that closes just while we ask leaves us without an answer,
# and we may not ask again.
_IDLE_S = 1.0
_IDLE_MAX = 20
_find_pool = operator.attrgetter("_pool.connections")
_find_unread = operator.attrgetter("_connection._h11_state.trailing_data")
_SHORTAGES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class NoResourcesError(httpx.TransportError):
    """This machine has no descriptors or memory left to ask with; nothing is wrong with the server."""


class Questions:
    """Asks one server, on as many connections as there are questions at a time.

    Args:
        url: Where questions go.
        tls: For https: whose certificates are believed, and which is shown; None for the public ones and none.
        socket: Path of the unix socket that is connected to instead of the URL's host, if not "".
    """

    def __init__(self, url: httpx.URL, tls: ssl.SSLContext | None = None, socket: str = "") -> None:
        self._is_tls = url.scheme == "https"
        # One context for all: making one takes longer than a question.
        self._tls = tls or build_context(str(url)) or httpx.create_ssl_context(verify=False, trust_env=False)
        self._socket = socket or None
        self._where = socket or url.netloc.decode("ascii")
        # (when it became idle, connection), the latest last.
        self._idle: list[tuple[float, httpx.AsyncHTTPTransport]] = []

    async def ask(
        self, question: httpx.Request, body_max_bytes: int, deadline_s: float
    ) -> tuple[httpx.Response, bytes]:
        """Return the answer and its body; of an answer that is not 200, or too long, only the beginning.

        Args:
            deadline_s: The loop's time at which whoever calls gives up.

        Raises:
            httpx.ConnectError: No connection, or none that TLS trusts; its text says why.
            httpx.HTTPError: No HTTP, or none to the end.
            NoResourcesError: Neither, for want of our own.
        """
        pauses_s = iter(RETRY_PAUSES_S)
        while True:
            try:
                return await self._ask_once(question, body_max_bytes)
            except httpx.ConnectError as exc:
                reason = _find_reason(exc)
                if isinstance(reason, OSError) and reason.errno in _SHORTAGES:
                    raise NoResourcesError(reason.strerror or str(reason)) from exc
                pause_s = next(pauses_s, math.inf)
                is_last = asyncio.get_running_loop().time() + pause_s >= deadline_s
                if is_last or not _may_heal(reason):
                    raise httpx.ConnectError(f"{self._where}: {_describe(reason)}") from exc
            await asyncio.sleep(pause_s)

    async def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def _ask_once(self, question: httpx.Request, body_max_bytes: int) -> tuple[httpx.Response, bytes]:
        connection = await self._take()
        opening = None
        if self._is_tls:
            opening = _Opening()
            question.extensions["trace"] = opening.note
        answer = None
        try:
            answer = await _exchange(connection, question, body_max_bytes)
        except ssl.SSLError as exc:
            # With TLS 1.3 a server refuses our certificate, or that we show none, after the handshake.
            raise httpx.ConnectError(str(exc)) from exc
        except httpx.ConnectTimeout as exc:
            # The kernel's own, ETIMEDOUT: we set none.
            raise httpx.ConnectError(str(exc)) from exc
        finally:
            if answer is None:
                if opening is not None:
                    await opening.close()
                await connection.aclose()
        if _is_read_to_the_end(connection):
            await self._give_back(connection)
        else:
            await connection.aclose()
        return answer

    async def _take(self) -> httpx.AsyncHTTPTransport:
        await self._drop_idle(time.monotonic() - _IDLE_S)
        if self._idle:
            return self._idle.pop()[1]
        # The transport without the client around it: no redirects, cookies or auth to switch off, and 0.1 ms less.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_S)
        return httpx.AsyncHTTPTransport(verify=self._tls, limits=limits, trust_env=False, uds=self._socket)

    async def _give_back(self, connection: httpx.AsyncHTTPTransport) -> None:
        now = time.monotonic()
        self._idle.append((now, connection))
        await self._drop_idle(now - _IDLE_S)

    async def _drop_idle(self, before: float) -> None:
        while self._idle and (self._idle[0][0] < before or len(self._idle) > _IDLE_MAX):
            await self._idle.pop(0)[1].aclose()


class _Opening:
    """A connection from its opening on: cancelled in the middle of TLS' handshake, httpcore does not close it."""

    def __init__(self) -> None:
        self._stream: httpcore.AsyncNetworkStream | None = None

    async def note(self, event: str, facts: Mapping[str, Any]) -> None:
        """Hear what httpcore does (its request extension `trace`)."""
        if event in ("connection.connect_tcp.complete", "connection.connect_unix_socket.complete"):
            self._stream = facts["return_value"]

    async def close(self) -> None:
        """Close it, if it was opened; again does no harm."""
        if self._stream is not None:
            await self._stream.aclose()


async def _exchange(
    connection: httpx.AsyncHTTPTransport, question: httpx.Request, body_max_bytes: int
) -> tuple[httpx.Response, bytes]:
    response = await connection.handle_async_request(question)
    body = bytearray()
    try:
        if response.status_code == 200:
            async for chunk in response.aiter_raw():
                body += chunk
                if len(body) > body_max_bytes:
                    break
    finally:
        await response.aclose()
    return response, bytes(body)


def _is_read_to_the_end(connection: httpx.AsyncHTTPTransport) -> bool:
    """Tell whether nothing came behind the answer, which would be taken for the answer to the next question.

    httpcore does not look, and keeps it where only its insides tell; where those are others now, no connection is kept.
    """
    try:
        trailing, _ = _find_unread(_find_pool(connection)[0])
    except (AttributeError, IndexError):
        return False
    return not trailing


def _find_reason(exc: BaseException) -> BaseException:
    """Return the first error of the chain that is not one of httpx or httpcore, which only pass on what befell them."""
    while type(exc).__module__.partition(".")[0] in ("httpx", "httpcore"):
        # The pool of httpcore raises again `from None`, which hides the cause but leaves it the context.
        before = exc.__cause__ or exc.__context__
        if before is None:
            break
        exc = before
    # anyio wraps the error of a connection into one that says no more than that all attempts failed.
    return exc.__cause__ if isinstance(exc.__cause__, OSError) else exc


def _may_heal(reason: BaseException) -> bool:
    """Tell whether a server that is being started may be all that is wrong; what TLS refuses stays refused."""
    return isinstance(reason, OSError) and not isinstance(reason, ssl.SSLError)


def _describe(reason: BaseException) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is refused: {reason.verify_message}"
    if isinstance(reason, ssl.SSLError):
        return f"TLS failed: {reason.reason or reason}"
    if isinstance(reason.__cause__, BaseExceptionGroup):  # A name with several addresses.
        return "; ".join(map(str, reason.__cause__.exceptions))
    if isinstance(reason, OSError):
        return str(reason)
    return "closed the connection before the end of the TLS handshake"
