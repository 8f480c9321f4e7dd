"""For operators: is it alive, is it ready, and its figures."""

import ipaddress
from collections.abc import Callable

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from ws_subprocess.doors.problems import build_response
from ws_subprocess.errors import RequestError
from ws_subprocess.telemetry import Metrics

_FORWARDED_HEADERS = ("forwarded", "x-forwarded-for", "x-real-ip")


class Operations:
    """The routes `/healthz`, `/readyz` and `/metrics`.

    Args:
        is_draining: Tells whether new sessions are refused.
        access: Who may read the figures: `loopback`, `all`, or `off` for nobody.
    """

    def __init__(self, metrics: Metrics, is_draining: Callable[[], bool], access: str) -> None:
        self._metrics = metrics
        self._is_draining = is_draining
        self._access = access

    async def get_health(self, request: Request) -> Response:
        """Answer as long as the process lives."""
        return PlainTextResponse("ok\n")

    async def get_readiness(self, request: Request) -> Response:
        """Answer 200 while new sessions are taken."""
        if self._is_draining():
            return PlainTextResponse("draining\n", 503, {"Retry-After": "30"})
        return PlainTextResponse("ready\n")

    async def get_metrics(self, request: Request) -> Response:
        """Answer with the Prometheus text."""
        if self._access == "off" or (self._access == "loopback" and not _is_local(request)):
            return build_response(RequestError("not_found"), request.headers)
        text, content_type = self._metrics.render()
        return Response(text, headers={"Content-Type": content_type})


def _is_local(request: Request) -> bool:
    """Tell whether the request comes from this machine, and not through a proxy on it that speaks for somebody else."""
    if any(name in request.headers for name in _FORWARDED_HEADERS):
        return False
    if request.client is None:  # A unix socket.
        return True
    try:
        return ipaddress.ip_address(request.client.host).is_loopback
    except ValueError:
        return False
