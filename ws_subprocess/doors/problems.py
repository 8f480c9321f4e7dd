"""How an error looks to an HTTP client: an RFC 9457 problem, or its bare title as text. PROTOCOL.md, "Errors"."""

import json
import re

from starlette.datastructures import Headers
from starlette.responses import Response

from ws_subprocess.errors import BridgeError

_JSON = re.compile(r"application/(problem\+)?json", re.IGNORECASE)


def build_response(error: BridgeError, headers: Headers) -> Response:
    """Return the answer for an error, in the form that the request accepts."""
    extra = {"Cache-Control": "no-store", "Vary": "Accept"}
    if error.retry_after_s is not None:
        extra["Retry-After"] = str(error.retry_after_s)
    if error.code == "upgrade_required":
        extra |= {"Upgrade": "websocket", "Connection": "Upgrade"}
    if not _JSON.search(headers.get("accept", "")):
        return Response(error.fault.title, error.fault.status, extra, "text/plain; charset=utf-8")
    problem = {"type": "about:blank", "title": error.fault.title, "status": error.fault.status, "code": error.code}
    if error.detail and error.detail_is_public:
        problem["detail"] = error.detail
    return Response(json.dumps(problem), error.fault.status, extra, "application/problem+json")
