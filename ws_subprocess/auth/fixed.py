"""The authority of `ws-subprocess run`: one token, one command, no controller."""

import hmac

from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, Grant, LaunchRequest


class OneCommand:
    """Grants one command to whoever knows the token, any number of times.

    Args:
        token: Random, at least 128 bits of it.
    """

    def __init__(self, token: str, grant: Grant) -> None:
        self._token = token.encode()
        self._answer = ParsedGrant(grant)

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        """Return the grant.

        Raises:
            GateError: Another token.
        """
        if not hmac.compare_digest(credentials.token.encode(), self._token):
            raise GateError("denied", "not the token that was printed")
        return self._answer

    async def close(self) -> None:
        """Do nothing: it holds nothing."""
