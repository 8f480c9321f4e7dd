"""HTTP GET for `auth.controller`: connections that are reused, and that a cancelled question cannot harm.

Law: a connection carries one question at a time; one whose question was not answered to the end is thrown away. A pool
of httpcore's that is cancelled while it opens a connection counts that one for ever, and asks nobody any more when it
has counted to its limit; so each of our connections is a pool of its own.
"""

import time

import httpx

# Below the idle limit of common servers (2 s and more): one that closes just while we ask leaves us without an answer,
# and we may not ask again.
_IDLE_S = 1.0
_IDLE_MAX = 20


class Questions:
    """Asks one server, on as many connections as there are questions at a time.

    Args:
        url: Whose scheme decides about TLS: certificates are loaded once, and only for https.
    """

    def __init__(self, url: httpx.URL) -> None:
        # One context for all: making one takes longer than a question.
        needs_certificates = url.scheme == "https"
        self._tls = httpx.create_ssl_context(verify=needs_certificates, trust_env=False)
        # (when it became idle, connection), the latest last.
        self._idle: list[tuple[float, httpx.AsyncHTTPTransport]] = []

    async def ask(self, question: httpx.Request, body_max_bytes: int) -> tuple[httpx.Response, bytes]:
        """Return the answer and its body; of an answer that is not 200, or too long, only the beginning.

        Raises:
            httpx.HTTPError: Nobody there, or no HTTP.
        """
        connection = await self._take()
        answer = None
        try:
            answer = await _exchange(connection, question, body_max_bytes)
        finally:
            if answer is None:
                await connection.aclose()
        await self._give_back(connection)
        return answer

    async def close(self) -> None:
        """Close idle connections."""
        while self._idle:
            await self._idle.pop()[1].aclose()

    async def _take(self) -> httpx.AsyncHTTPTransport:
        await self._drop_idle(time.monotonic() - _IDLE_S)
        if self._idle:
            return self._idle.pop()[1]
        # The transport without the client around it: no redirects, cookies or auth to switch off, and 0.1 ms less.
        limits = httpx.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_S)
        return httpx.AsyncHTTPTransport(verify=self._tls, limits=limits, trust_env=False)

    async def _give_back(self, connection: httpx.AsyncHTTPTransport) -> None:
        now = time.monotonic()
        self._idle.append((now, connection))
        await self._drop_idle(now - _IDLE_S)

    async def _drop_idle(self, before: float) -> None:
        while self._idle and (self._idle[0][0] < before or len(self._idle) > _IDLE_MAX):
            await self._idle.pop(0)[1].aclose()


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
