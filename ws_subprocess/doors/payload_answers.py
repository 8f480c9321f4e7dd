"""What a payload looks like to its client: the document's four keys, and what there is beyond them. Pure.

Law: `status` is spelled as it always was, the unbalanced parenthesis included: clients compare it.
"""

import base64
import json
import re
from typing import Any

from ws_subprocess.service.job import Job, JobState

CMD, PARAMS, STDERR_HEAD = "cmd", "params", "stderr_head"
"""The facts of a payload's job: what was asked for, and the beginning of what it wrote to stderr."""

STDERR_HEAD_BYTES = 1000
_OS_ERROR = re.compile(r"(?:[^:]*: )*(?P<words>[^:]+)")


def describe(job: Job) -> dict[str, Any]:
    """Return what is known of a payload but its output."""
    return {
        "status": describe_status(job),
        "cmd": job.facts[CMD],
        "params": job.facts[PARAMS],
        "id": job.id,
        "state": str(job.state),
        "exit_code": job.exit_code,
        "signal": job.signal,
        "created_at": job.created_at,
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "output_bytes": job.stdout_bytes,
        "error_output_bytes": job.stderr_bytes,
        "is_truncated": job.is_cut,
    }


def describe_status(job: Job) -> str:
    """Return the document's status; ends it does not know are errors, too."""
    match job.state:
        case JobState.PENDING | JobState.WORKING:
            return str(job.state)
        case JobState.FINISHED if job.stderr_bytes == 0:
            return "finished"
        case JobState.FINISHED:
            return f"error:start ({job.facts.get(STDERR_HEAD, '')})"
        case JobState.FAILED:
            return f"error:start('{job.facts[CMD]}':{_find_words(job.error)}"
        case _:
            return f"error:{job.error or job.state}"


def describe_output(name: str, data: bytes) -> dict[str, Any]:
    """Return output as text under `name`; of what is no UTF-8, the very bytes too."""
    try:
        return {name: data.decode()}
    except UnicodeDecodeError:
        return {name: data.decode(errors="replace"), f"{name}_base64": base64.b64encode(data).decode("ascii")}


def write(value: object) -> bytes:
    """Return JSON as it always was here: for people to read."""
    return json.dumps(value, indent=4).encode("ascii") + b"\n"


def _find_words(error: str) -> str:
    """Return the system's words at the end of why something could not be started."""
    match = _OS_ERROR.fullmatch(error)
    return match["words"] if match else error
