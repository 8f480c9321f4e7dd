"""The one funnel: credentials and a request go in, a Grant comes out or an error is raised.

Laws: deny by default; nothing starts without a Grant from here; authorities are asked in order, the first that knows
the token decides, and one that cannot decide refuses; a token that counts once is used up before its command starts,
and only when nothing else stands in the way. Why a token was refused is remembered for a short while, by the token's
hash, so that a page can be told without anybody being asked twice.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

from ws_subprocess.auth.grants import ParsedGrant, SingleUse
from ws_subprocess.auth.policy import Policy
from ws_subprocess.errors import BridgeError, GateError
from ws_subprocess.model import Credentials, Grant, LaunchRequest

EnvironmentRule = Callable[[str], bool]
REFUSALS_MAX = 1024
REFUSAL_TTL_S = 30.0
_RETRY_AFTER_S = 5


class Authority(Protocol):
    """Somebody who may grant: a controller, keys that sign tokens, a list of tokens."""

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant | None:
        """Return the grant, None when the token is not one of this authority's; or raise `GateError`."""
        ...

    async def close(self) -> None:
        """Give back connections."""
        ...


class Ledger(Protocol):
    """Remembers which tokens have been used up, also when the daemon is started again."""

    async def claim(self, key: bytes, expires_at: float) -> bool:
        """Use `key` up, for good before this returns; False when it was already.

        Raises:
            OSError: It cannot be written down.
        """
        ...

    async def close(self) -> None:
        """Give back the file."""
        ...


class Gate:
    """Decides who may run what.

    Args:
        authorities: Who is asked, in this order.
        policy: What no grant may exceed.
        ledger: Remembers tokens that count once; without one such tokens are refused.
        on_unknown_keys: Told how many keys of a grant were ignored.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        authorities: Sequence[Authority],
        policy: Policy,
        ledger: Ledger | None,
        on_unknown_keys: Callable[[int], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._authorities = tuple(authorities)
        self._policy = policy
        self._ledger = ledger
        self._on_unknown_keys = on_unknown_keys
        self._clock = clock
        self._refusals: dict[bytes, tuple[float, BridgeError]] = {}

    async def authorize(
        self, credentials: Credentials, request: LaunchRequest, admit: Callable[[Grant], None]
    ) -> Grant:
        """Return what these credentials may run.

        Args:
            admit: Called with the grant before a token is used up; may raise, for want of room.

        Raises:
            BridgeError: They may not, or nobody could decide, or what `admit` raised; `grant` is what it was about.
        """
        parsed = await self._ask(credentials, request)
        if parsed.unknown_keys:
            self._on_unknown_keys(len(parsed.unknown_keys))
        try:
            self._policy.check(parsed.grant)
            if missing := request.needs - parsed.grant.rights:
                detail = f"the grant's rights lack {', '.join(sorted(missing))}"
                raise GateError("right_missing", detail)
            admit(parsed.grant)
            if parsed.single_use is not None:
                await self._use_up(parsed.single_use)
        except BridgeError as exc:
            exc.grant = parsed.grant
            raise
        return parsed.grant

    def check(self, grant: Grant) -> None:
        """Raise BridgeError when the operator's limits do not allow what was granted earlier."""
        self._policy.check(grant)

    async def _ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        for authority in self._authorities:
            parsed = await authority.ask(credentials, request)
            if parsed is not None:
                return parsed
        raise GateError("denied", "nobody knows this token", reason="token_unknown")

    async def _use_up(self, use: SingleUse) -> None:
        if self._ledger is None:
            raise GateError("gate_unavailable", "a token that counts once, and no state_dir to remember it in")
        try:
            is_first = await self._ledger.claim(use.key, use.expires_at)
        except OSError as exc:
            raise GateError("gate_unavailable", f"state_dir: {exc}", _RETRY_AFTER_S) from exc
        if not is_first:
            raise GateError("denied", "the token was used before", reason="token_used")

    def remember_refusal(self, credentials: Credentials, error: BridgeError) -> None:
        """Keep why a token got nowhere, for `find_refusal`."""
        key = credentials.token_hash
        self._refusals.pop(key, None)
        while len(self._refusals) >= REFUSALS_MAX:
            del self._refusals[next(iter(self._refusals))]
        # What it says, not itself: its traceback holds the request's frames, with the connection and the token.
        kept = type(error)(error.code, error.detail, error.retry_after_s, error.reason)
        self._refusals[key] = (self._clock() + REFUSAL_TTL_S, kept)

    def find_refusal(self, credentials: Credentials) -> BridgeError | None:
        """Return the last refusal of this token if it is fresh; asks nobody."""
        until, error = self._refusals.get(credentials.token_hash, (0.0, None))
        return error if self._clock() < until else None

    async def close(self) -> None:
        """Give back what the authorities and the ledger hold."""
        for authority in self._authorities:
            await authority.close()
        if self._ledger is not None:
            await self._ledger.close()
