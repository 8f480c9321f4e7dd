"""The keys that an issuer publishes at a URL (JWKS, RFC 7517), fetched when they are needed and kept.

Laws: the URL is the operator's, never a token's; one question at a time, and not more often than every 10 s, whatever
tokens come; keys that are there go on being used while the issuer is away, for a day; a client that leaves cancels
nothing for those who wait with it.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import httpx

from ws_subprocess.auth.jws import SignedToken
from ws_subprocess.auth.key_ring import KeyRing
from ws_subprocess.auth.keys import VerifyingKey, load_published_key
from ws_subprocess.auth.questions import Questions
from ws_subprocess.auth.strict_json import parse_json
from ws_subprocess.errors import GateError

BODY_MAX_BYTES = 256 * 1024
KEYS_MAX = 64
TIMEOUT_S = 5.0
PAUSE_S = 10.0
MAX_AGE_S = 3600.0
# A key that was withdrawn while no token came must not be believed until the answer is there.
TOO_OLD_S = 2 * MAX_AGE_S
# Long enough for an issuer to be mended. Who can keep us from asking it must not keep a stolen key good for ever.
KEPT_MAX_S = 24 * MAX_AGE_S
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "ws-subprocess"}

log = logging.getLogger(__name__)


class PublishedKeys:
    """The keys at one URL.

    Args:
        url: `https`, or `http` on this machine.
        clock: Seconds, monotonic.
        timeout_s: For connection, headers and body together.
    """

    def __init__(self, url: str, clock: Callable[[], float] = time.monotonic, timeout_s: float = TIMEOUT_S) -> None:
        self._url = httpx.URL(url)
        self._clock = clock
        self._timeout_s = timeout_s
        self._questions = Questions(self._url)
        self._ring: KeyRing | None = None
        self._fetched_at = self._asked_at = float("-inf")
        self._failure = ""
        self._fetching: asyncio.Task[None] | None = None

    async def verify(self, token: SignedToken) -> None:
        """Pass a token that one of the keys has signed; asks the issuer when it may have new ones.

        Raises:
            GateError: `denied` as by `KeyRing.verify`; `gate_unavailable` when there were no keys to be had for a day.
        """
        age_s = self._clock() - self._fetched_at
        if age_s > TOO_OLD_S:
            await self._refresh()
        elif age_s > MAX_AGE_S:
            self._begin()
        ring = self._get_ring()
        try:
            ring.verify(token)
        except GateError as exc:
            if exc.reason != "jwt_key" and token.kid is not None:
                raise
            await self._refresh()
            if self._get_ring() is ring:
                raise
            self._get_ring().verify(token)

    async def close(self) -> None:
        """End a question that is under way, and close connections."""
        if self._fetching is not None:
            self._fetching.cancel()
            await asyncio.wait([self._fetching])
        await self._questions.close()

    def _get_ring(self) -> KeyRing:
        if self._ring is None or self._clock() - self._fetched_at > KEPT_MAX_S:
            pause_s = max(1, round(self._asked_at + PAUSE_S - self._clock()))
            raise GateError("gate_unavailable", f"jwt_jwks_url: {self._failure}", pause_s)
        return self._ring

    async def _refresh(self) -> None:
        self._begin()
        if self._fetching is not None:
            # Whoever waits may be cancelled: `wait` leaves the task alone.
            await asyncio.wait([self._fetching])

    def _begin(self) -> None:
        now = self._clock()
        if self._fetching is None and now - self._asked_at >= PAUSE_S:
            self._asked_at = now
            self._fetching = asyncio.create_task(self._fetch(), name="jwks")

    async def _fetch(self) -> None:
        try:
            _, self._ring = await fetch_keys(self._questions, self._url, self._timeout_s)
        except (TimeoutError, httpx.HTTPError, ValueError) as exc:
            self._failure = self._explain(exc)
            facts = {"detail": self._failure, "keys": len(self._ring or ())}
            log.warning("issuer's keys cannot be fetched", extra=facts)
        else:
            self._fetched_at = self._clock()
            log.info("issuer's keys fetched", extra={"keys": len(self._ring)})
        finally:
            self._fetching = None

    def _explain(self, exc: Exception) -> str:
        match exc:
            case TimeoutError():
                return f"no complete answer within {self._timeout_s:g} s"
            case httpx.ConnectError() | ValueError():
                return str(exc)
            case _:
                return f"no HTTP answer: {type(exc).__name__}"


async def fetch_keys(questions: Questions, url: httpx.URL, timeout_s: float) -> tuple[httpx.Response, KeyRing]:
    """Return what an issuer answers at `url`, and the keys in it.

    Raises:
        TimeoutError: There was no complete answer within `timeout_s`.
        httpx.HTTPError: There was none at all.
        ValueError: It is no JWK set.
    """
    question = httpx.Request("GET", url, headers={**_HEADERS, "Host": url.netloc.decode("ascii")})
    async with asyncio.timeout(timeout_s):
        deadline_s = asyncio.get_running_loop().time() + timeout_s
        response, body = await questions.ask(question, BODY_MAX_BYTES, deadline_s)
    if response.status_code != 200:
        raise ValueError(f"status {response.status_code}, not 200")
    if len(body) > BODY_MAX_BYTES:
        raise ValueError(f"answer: more than {BODY_MAX_BYTES} bytes")
    return response, parse_keys(body)


def parse_keys(body: bytes) -> KeyRing:
    """Return the keys of a JWK set that can be used; others are told in the log.

    Raises:
        ValueError: No JWK set, or too many keys.
    """
    fields = parse_json(body)
    keys = fields.get("keys") if isinstance(fields, dict) else None
    if not isinstance(keys, list) or not all(isinstance(key, dict) for key in keys):
        raise ValueError('answer: no JWK set; it is {"keys": [...]}')
    if len(keys) > KEYS_MAX:
        raise ValueError(f"answer: {len(keys)} keys, at most {KEYS_MAX}")
    return KeyRing(found for index, key in enumerate(keys) if (found := _load(index, key)) is not None)


def _load(index: int, jwk: dict[str, Any]) -> VerifyingKey | None:
    try:
        return load_published_key(jwk)
    except ValueError as exc:
        log.info("issuer's key is not used", extra={"key": f"keys[{index}]", "detail": str(exc)})
        return None
