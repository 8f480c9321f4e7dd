"""The one funnel: credentials and a request go in, a Grant comes out or an error is raised.

Laws: deny by default; nothing starts without a Grant from here; why a token was refused is remembered for a short
while, by the token's hash, so that a page can be told without anybody being asked twice.
"""

import hashlib
import time
from collections.abc import Callable
from typing import Protocol

from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.errors import BridgeError
from ws_subprocess.model import Credentials, Grant, LaunchRequest

EnvironmentRule = Callable[[str], bool]
REFUSALS_MAX = 1024
REFUSAL_TTL_S = 30.0


class Authority(Protocol):
    """Somebody who may grant: a controller, or the one command of `ws-subprocess run`."""

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        """Return the grant, or raise `GateError`."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class Gate:
    """Decides who may run what.

    Args:
        authority: Who is asked.
        on_unknown_keys: Told how many keys of a grant were ignored.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        authority: Authority,
        on_unknown_keys: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authority = authority
        self._on_unknown_keys = on_unknown_keys
        self._clock = clock
        self._refusals: dict[bytes, tuple[float, BridgeError]] = {}

    async def authorize(self, credentials: Credentials, request: LaunchRequest) -> Grant:
        """Return what these credentials may run.

        Raises:
            GateError: They may not, or nobody could decide.
        """
        parsed = await self._authority.ask(credentials, request)
        if parsed.unknown_keys:
            self._on_unknown_keys(len(parsed.unknown_keys))
        return parsed.grant

    def remember_refusal(self, credentials: Credentials, error: BridgeError) -> None:
        """Keep why a token got nowhere, for `find_refusal`."""
        key = _hash(credentials)
        self._refusals.pop(key, None)
        while len(self._refusals) >= REFUSALS_MAX:
            del self._refusals[next(iter(self._refusals))]
        # What it says, not itself: its traceback holds the request's frames, with the connection and the token.
        kept = type(error)(error.code, error.detail, error.retry_after_s)
        self._refusals[key] = (self._clock() + REFUSAL_TTL_S, kept)

    def find_refusal(self, credentials: Credentials) -> BridgeError | None:
        """Return the last refusal of this token if it is fresh; asks nobody."""
        until, error = self._refusals.get(_hash(credentials), (0.0, None))
        return error if self._clock() < until else None

    async def close(self) -> None:
        """Give back what the authority holds."""
        await self._authority.close()


def _hash(credentials: Credentials) -> bytes:
    return hashlib.sha256(credentials.token.encode()).digest()
