"""How a command's output and its end are written to a client of the process door. Pure.

Law: bytes arrive as they were written; a client can tell a whole stream from one that was cut.
"""

import base64
import json
from typing import Any, assert_never

from ws_subprocess.dialects.native import name_signal
from ws_subprocess.doors.process_request import Form
from ws_subprocess.model import STDERR, ExitStatus

EXIT_CODE, EXIT_SIGNAL = "X-Exit-Code", "X-Exit-Signal"
BASE_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    # nginx would collect the answer.
    "X-Accel-Buffering": "no",
    # Who pipelines another request and leaves would not be seen to leave; see `server.answers`.
    "Connection": "close",
}


def write_output(form: Form, stream: int, data: bytes) -> bytes:
    """Return a piece of output in this form."""
    if form is Form.RAW:
        return data
    name = "stderr" if stream == STDERR else "stdout"
    return _write(form, "output", {"stream": name, "data_b64": base64.b64encode(data).decode("ascii")})


def write_end(form: Form, status: ExitStatus, reason: str) -> bytes:
    """Return the last piece, which tells how the command ended; nothing in the raw form.

    Args:
        reason: Error code of what ended it, "" when it ended by itself.
    """
    if form is Form.RAW:
        return b""
    fields: dict[str, Any] = {"exit": {"code": status.code, "signal": _name(status)}}
    if reason:
        fields["error"] = reason
    return _write(form, "exit", fields)


def list_trailers(status: ExitStatus) -> list[tuple[bytes, bytes]]:
    """Return the trailer that tells how the command ended."""
    name = _name(status)
    if name is not None:
        return [(EXIT_SIGNAL.lower().encode("ascii"), name.encode("ascii"))]
    return [(EXIT_CODE.lower().encode("ascii"), str(status.code).encode("ascii"))]


def _name(status: ExitStatus) -> str | None:
    return None if status.signal is None else name_signal(status.signal)


def _write(form: Form, event: str, fields: dict[str, Any]) -> bytes:
    line = json.dumps(fields, separators=(",", ":"))
    match form:
        case Form.NDJSON:
            return f"{line}\n".encode("ascii")
        case Form.EVENTS:
            return f"event: {event}\ndata: {line}\n\n".encode("ascii")
        case Form.RAW:
            raise ValueError("bytes as they are hold no events")
        case _:
            assert_never(form)
