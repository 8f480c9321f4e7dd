"""The JSON that the doors take and give, as JSON Schema 2020-12. Pure.

Law: a bound that the daemon checks is taken from where it is checked, not written here again.
"""

from ws_subprocess.auth.grants import ARGS_MAX, ENV_MAX, SECONDS_MAX, STRING_MAX_BYTES
from ws_subprocess.doors.command_requests import PRIORITY_MIN
from ws_subprocess.doors.openapi.answers import Json, ref
from ws_subprocess.doors.process_request import ALIAS_MAX_CHARS, Stderr
from ws_subprocess.doors.request_ids import PATTERN
from ws_subprocess.errors import FAULTS
from ws_subprocess.service.job import JobState, Retention

_TEXT: Json = {"type": "string"}
_FLAG: Json = {"type": "boolean"}
_COUNT: Json = {"type": "integer", "minimum": 0}
_TIME: Json = {"type": ["number", "null"], "description": "Unix time in seconds."}
_BASE64: Json = {"type": "string", "contentEncoding": "base64"}
_STATE: Json = {"type": "string", "enum": [str(state) for state in JobState]}
_COMMAND: Json = {
    "type": "string",
    "minLength": 1,
    "pattern": r"^(?:/[^\u0000-\u001f\u007f-\u009f]*|[^/\u0000-\u001f\u007f-\u009f]+)$",
    "description": "An absolute path, or the name of a program in PATH.",
}
_PART: Json = {"type": "string", "pattern": r"^[^\u0000]*$", "maxLength": STRING_MAX_BYTES}
_PARTS: Json = {"type": "array", "items": _PART, "maxItems": ARGS_MAX}
_SECONDS: Json = {"type": "number", "exclusiveMinimum": 0, "maximum": SECONDS_MAX}


def _object(required: list[str], properties: Json, description: str, **more: object) -> Json:
    return {
        "type": "object",
        "description": description,
        "required": required,
        "properties": properties,
        **more,
    }


PROBLEM = _object(
    ["type", "title", "status", "code"],
    {
        "type": {"const": "about:blank"},
        "title": _TEXT,
        "status": {"type": "integer"},
        "code": {"type": "string", "enum": sorted(FAULTS), "description": "Stable, for programs."},
        "detail": {**_TEXT, "description": "The thing and the value; not where it would help who forges a token."},
        "request_id": {"type": "string", "pattern": f"^{PATTERN}$"},
    },
    "What went wrong (RFC 9457). `about:blank` means that the status says the rest.",
)

PROCESS_REQUEST = _object(
    ["alias", "cmd"],
    {
        "alias": {
            "type": "string",
            "minLength": 1,
            "maxLength": ALIAS_MAX_CHARS,
            "pattern": r"^[^/\u0000-\u001f\u007f-\u00a0]+$",
            "description": "Its name while it runs: printable characters; no two commands have the same.",
        },
        "cmd": _COMMAND,
        "args": {**_PARTS, "description": "Without the program itself."},
        "cwd": {
            "type": "string",
            "pattern": r"^(?:\.|/[^\u0000-\u001f\u007f-\u009f]*)$",
            "default": ".",
            "description": "An absolute path without `..`; `.` is the daemon's own directory.",
        },
        "envs": {
            "type": "object",
            "maxProperties": ENV_MAX,
            "propertyNames": {"pattern": "^[A-Za-z_][A-Za-z0-9_]*$"},
            "additionalProperties": _PART,
            "description": "Added to the environment; what would change how programs are loaded is refused.",
        },
        "stderr": {
            "type": "string",
            "enum": [str(kind) for kind in Stderr],
            "description": "Default: `drop` for plain bytes, which cannot tell `separate`; else `separate`.",
        },
        "stdin": {"type": ["string", "null"], "description": "All of its input; null is an empty one."},
        "timeout": {"anyOf": [_SECONDS, {"type": "null"}], "description": "Seconds."},
    },
    "A command to be run. Other keys are ignored.",
)

COMMAND_REQUEST = _object(
    [],
    {
        "args": {**_PARTS, "description": "They follow the command's own."},
        "timeout": {**_SECONDS, "description": "Seconds; the command's own bound holds beside it."},
        "force_unique_key": {**_FLAG, "description": "Let it run beside another with the same arguments."},
        "callback_context": {
            "type": "object",
            "description": "Handed to the callback, with the report.",
        },
        "callback_url": {**_TEXT, "description": "Called with the report, where the daemon's operator allows that."},
        "stdin": {**_TEXT, "description": "What it reads, then end of file."},
        "stdin_b64": {**_BASE64, "description": "The same as bytes."},
        "keep_stdin": {**_FLAG, "description": "Leave its input open for `/input`."},
        "retention": {
            "type": "string",
            "enum": [str(kind) for kind in Retention],
            "description": "`once`: reading the result removes it.",
        },
        "priority": {
            "type": "integer",
            "minimum": PRIORITY_MIN,
            "maximum": 0,
            "description": "Added to the command's own: a job may let others go first.",
        },
    },
    "How a named command is to be run. Other keys are ignored.",
    **{"not": {"required": ["stdin", "stdin_b64"]}},
)

RUNNING = _object(
    ["status", "key", "result_url"],
    {"status": {"const": "running"}, "key": _TEXT, "result_url": {**_TEXT, "format": "uri"}},
    "A job that has not ended.",
)

REPORT = _object(
    ["key", "report", "error", "returncode", "start_time", "end_time", "process_time", "status", "truncated"],
    {
        "key": _TEXT,
        "report": {**_TEXT, "description": "Its standard output."},
        "report_b64": {**_BASE64, "description": "The very bytes, where they are no UTF-8."},
        "error": {**_TEXT, "description": "Its standard error, or why it was ended."},
        "error_b64": _BASE64,
        "stderr": _TEXT,
        "stderr_b64": _BASE64,
        "returncode": {"type": "integer", "description": "The exit code, or minus the signal."},
        "start_time": _TIME,
        "end_time": _TIME,
        "process_time": {"type": ["number", "null"]},
        "status": _STATE,
        "truncated": _FLAG,
    },
    "How a job ended.",
)

COMMAND_ERROR = _object(
    ["error"],
    {"error": _TEXT, "code": {"type": "string", "enum": sorted(FAULTS)}, "key": _TEXT, "result_url": _TEXT},
    "What went wrong, as Flask-Shell2HTTP says it.",
)

COMMAND_JOBS = _object(
    ["jobs", "after"],
    {
        "jobs": {
            "type": "array",
            "items": _object(
                ["key", "status", "created_time", "start_time", "end_time", "result_url"],
                {
                    "key": _TEXT,
                    "status": _STATE,
                    "created_time": {"type": "number"},
                    "start_time": _TIME,
                    "end_time": _TIME,
                    "result_url": _TEXT,
                },
                "One job.",
            ),
        },
        "after": {"type": ["string", "null"], "description": "For the next page; null on the last."},
    },
    "Jobs of one command that are yours, the oldest first.",
)

PAYLOAD_REQUEST = _object(
    [],
    {
        "cmd": _COMMAND,
        "params": {**_PARTS, "description": "Its arguments, without the program itself."},
        "Cmd": {**_COMMAND, "description": "The same as `cmd`."},
        "Params": {**_PARTS, "description": "The same as `params`."},
        "timeout": {"anyOf": [_SECONDS, {"type": "null"}], "description": "Seconds."},
    },
    "A command to be run; `Cmd` and `Params` are other spellings. Other keys are ignored.",
    allOf=[
        {"oneOf": [{"required": ["cmd"]}, {"required": ["Cmd"]}]},
        {"oneOf": [{"required": ["params"]}, {"required": ["Params"]}]},
    ],
)

_PAYLOAD: Json = {
    "status": {**_TEXT, "description": "`pending`, `working`, `finished`, or `error:` and why."},
    "cmd": _TEXT,
    "params": {"type": "array", "items": _TEXT},
    "id": _TEXT,
    "state": _STATE,
    "exit_code": {"type": ["integer", "null"]},
    "signal": {"type": ["integer", "null"]},
    "created_at": {"type": "number"},
    "started_at": _TIME,
    "ended_at": _TIME,
    "output_bytes": _COUNT,
    "error_output_bytes": _COUNT,
    "is_truncated": _FLAG,
}
PAYLOAD = _object(list(_PAYLOAD), _PAYLOAD, "A command, and what became of it.")
PAYLOAD_WITH_OUTPUT = _object(
    [*_PAYLOAD, "output", "error_output"],
    {
        **_PAYLOAD,
        "output": _TEXT,
        "output_base64": {**_BASE64, "description": "The very bytes, where they are no UTF-8."},
        "error_output": _TEXT,
        "error_output_base64": _BASE64,
    },
    "A command, and what it wrote.",
)

SCHEMAS: Json = {
    "Problem": PROBLEM,
    "ProcessRequest": PROCESS_REQUEST,
    "CommandRequest": COMMAND_REQUEST,
    "CommandRunning": RUNNING,
    "CommandReport": REPORT,
    "CommandError": COMMAND_ERROR,
    "CommandJobs": COMMAND_JOBS,
    "PayloadRequest": PAYLOAD_REQUEST,
    "Payload": PAYLOAD,
    "PayloadWithOutput": PAYLOAD_WITH_OUTPUT,
    "Payloads": {"type": "array", "items": ref("Payload")},
}
