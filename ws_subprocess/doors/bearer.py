"""Who knocks at an HTTP door: the checks before a body is read, from the cheapest on, and the token.

Law: the token comes in `Authorization` alone. A page of another site cannot send that header without being allowed to
(CORS preflight), and a query ends up in logs.
"""

from dataclasses import dataclass

from starlette.requests import Request

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.doors.handshake import check_origin, get_peer, list_bearers, require_origin, take_token
from ws_subprocess.errors import RequestError
from ws_subprocess.model import Credentials
from ws_subprocess.service.launch import Launcher


@dataclass(frozen=True, slots=True)
class Threshold:
    """What every HTTP door asks of a request before it does anything for it.

    Whether there is room for one more command is known, and told, by who starts it.
    """

    launcher: Launcher
    policy: OriginPolicy

    def admit(self, request: Request) -> Credentials:
        """Return the token of a request whose Host and Origin are right, and whose peer does not come too often.

        Raises:
            BridgeError: One of these is not so, or there is no token.
        """
        self._check_page(request)
        return self._take_token(request)

    def admit_start(self, request: Request) -> Credentials:
        """Do as `admit`, for a request that is to start something: not while the daemon is draining."""
        self._check_page(request)
        self.launcher.check_open()
        return self._take_token(request)

    def _check_page(self, request: Request) -> None:
        check_origin(request.scope, request.headers, self.policy)
        require_origin(request.headers, self.policy)

    def _take_token(self, request: Request) -> Credentials:
        self.launcher.check_rate(get_peer(request.scope))
        return read_bearer(request)


def read_bearer(request: Request) -> Credentials:
    """Return the token of `Authorization: Bearer TOKEN`.

    Raises:
        RequestError: `unauthorized` without one; more than one, too long or malformed.
    """
    tokens = list_bearers(request.headers)
    if not tokens:
        raise RequestError("unauthorized", "send Authorization: Bearer TOKEN")
    return take_token(tokens)
