"""The authority that needs to ask nobody: tokens (JWT, RFC 7519) that say what they grant, verified with keys.

Laws: every reason to refuse looks the same from outside; a token that is meant as a signed one is decided here, and
passed on to nobody else when it is no good.
"""

import hashlib
import json
import time
from collections.abc import Callable

from ws_subprocess.auth.claims import ClaimRules, Claims, build_granted, check_claims
from ws_subprocess.auth.gate import EnvironmentRule
from ws_subprocess.auth.grants import ParsedGrant, SingleUse
from ws_subprocess.auth.jwks import PublishedKeys
from ws_subprocess.auth.jws import SignedToken, is_signed, parse_token
from ws_subprocess.auth.key_ring import KeyRing
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest


class SignedTokens:
    """Grants what tokens claim that one of the keys has signed.

    Args:
        keys: Those that the daemon was given.
        published: Those that an issuer publishes.
        token_type: The `typ` that tokens must have; "" for JWT or none.
        is_once: Tokens without a `jti` count once as well.
        is_env_refused: Names that a grant may not set.
        clock: Unix time.
    """

    def __init__(
        self,
        keys: KeyRing,
        published: PublishedKeys | None,
        rules: ClaimRules,
        is_env_refused: EnvironmentRule,
        *,
        token_type: str = "",
        is_once: bool = False,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._keys = keys
        self._published = published
        self._rules = rules
        self._is_env_refused = is_env_refused
        self._token_type = token_type
        self._is_once = is_once
        self._clock = clock

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant | None:
        """Return what the token grants, None when it is not meant as a signed one.

        Raises:
            GateError: `denied`, for whatever reason; or the issuer's keys are not to be had (`gate_unavailable`).
            RequestError: What the client proposes cannot be used.
        """
        if not is_signed(credentials.token):
            return None
        token, claims = await self.read(credentials.token)
        parsed = build_granted(claims, request, self._is_env_refused)
        return ParsedGrant(parsed.grant, parsed.unknown_keys, self._build_use(token, claims))

    async def read(self, text: str) -> tuple[SignedToken, Claims]:
        """Return the parts of a good token, and what it claims.

        Raises:
            GateError: It is none, or the issuer's keys are not to be had.
        """
        token = parse_token(text, self._token_type)
        await self._verify(token)
        return token, check_claims(token.claims, self._rules, self._clock())

    async def close(self) -> None:
        """End a question to the issuer."""
        if self._published is not None:
            await self._published.close()

    async def _verify(self, token: SignedToken) -> None:
        try:
            self._keys.verify(token)
        except GateError as exc:
            # A key that is here and does not fit decides; the issuer is asked about those that are not.
            if self._published is None or (token.kid is not None and exc.reason != "jwt_key"):
                raise
            await self._published.verify(token)

    def _build_use(self, token: SignedToken, claims: Claims) -> SingleUse | None:
        if claims.jti:
            # Two issuers may use the same.
            name = json.dumps(["jti", claims.issuer, claims.jti]).encode()
        elif self._is_once:
            # Without the signature: ECDSA's can be changed so that it still fits.
            name = token.signed
        else:
            return None
        return SingleUse(hashlib.sha256(name).digest(), claims.expires_at + self._rules.leeway_s)
