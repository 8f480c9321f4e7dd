"""What requests for a job's output may ask, and what their answers say beside it, as OpenAPI describes them. Pure."""

from ws_subprocess.doors.job_output import READ_MAX_BYTES, STREAMS
from ws_subprocess.doors.openapi.answers import Json, query
from ws_subprocess.service.job import JobState

_BYTES: Json = {"type": "integer", "minimum": 0, "maximum": 10**18 - 1}

PARAMETERS: list[Json] = [
    query("stream", {"type": "string", "enum": list(STREAMS), "default": "stdout"}, "Which output."),
    query("offset", {**_BYTES, "default": 0}, "Bytes to leave out."),
    query("limit", _BYTES, f"Most bytes of an answer, at most {READ_MAX_BYTES}."),
    query("wait", {"type": "string", "enum": ["true", "false"]}, "`true` waits for more, for up to a minute."),
]

HEADERS: Json = {
    "X-Next-Offset": {"description": "Where to read on.", "schema": {"type": "string", "pattern": "^[0-9]+$"}},
    "X-Job-Status": {
        "description": "The job's state.",
        "schema": {"type": "string", "enum": [str(state) for state in JobState]},
    },
}
