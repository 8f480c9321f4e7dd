"""The command door's routes, those of each command, as OpenAPI describes them. Pure."""

from collections.abc import Iterable

from ws_subprocess.auth.grants import SECONDS_MAX
from ws_subprocess.doors.commands import ENDS, LIST_MAX
from ws_subprocess.doors.openapi.answers import (
    ASKED,
    BODY,
    GATE,
    JSON_BODY,
    STORE,
    Json,
    answer,
    describe,
    json_of,
    link,
    problem_of,
    query,
    ref,
    refuse,
)
from ws_subprocess.doors.openapi.job_output import HEADERS, PARAMETERS
from ws_subprocess.service.named_command import NamedCommand

TAG = "commands"
ABOUT = "Commands that the operator has named, as jobs: start one, come back for its report."
_FINDING = (*ASKED, *GATE, *STORE, "job_unknown", "not_found", "queue_full")
_STARTING = (
    *_FINDING,
    *JSON_BODY,
    "bad_multipart",
    "bad_timeout",
    "callback_denied",
    "idempotency_conflict",
)


def _write_error(status: int, codes: list[str]) -> Json:
    return {
        **json_of("CommandError"),
        "application/problem+json": {"schema": problem_of(status, codes)},
    }


# Once, not for each command: there may be a thousand.
_START_REFUSALS = refuse(_STARTING, _write_error)
# What the old contract says of a key that is taken: no other status.
_START_REFUSALS["400"]["description"] += "; `job_exists`: Job exists already"
_READ_REFUSALS = refuse((*_FINDING, "bad_timeout"), _write_error)
_FIND_REFUSALS = refuse(_FINDING, _write_error)
_INPUT_REFUSALS = refuse((*_FINDING, *BODY, "not_running"), _write_error)

_KEY = query("key", {"type": "string", "minLength": 1, "maxLength": 64}, "The job's key.", required=True)
_WAIT = query("wait", {"type": "string", "enum": ["true", "false"]}, "`true` waits for the job.")
_EVENTS: Json = {
    "text/event-stream": {
        "schema": {"type": "string"},
        "example": 'event: output\nid: 6-0\ndata: {"stream": "stdout", "offset": 0, "text": "hello\\n"}\n\n',
    }
}
_REPORT: Json = {
    "key": "ddbe0a94",
    "report": "hello\n",
    "error": "",
    "returncode": 0,
    "start_time": 1700000000.5,
    "end_time": 1700000000.75,
    "process_time": 0.25,
    "status": "finished",
    "truncated": False,
}
_RUNNING: Json = {
    "status": "running",
    "key": "ddbe0a94",
    "result_url": "http://127.0.0.1:8866/commands/NAME?key=ddbe0a94&wait=false",
}
_ABOUT_START = """\
Accepts the job, which is on the disk then, and answers with its key. A second request with the same arguments is 400
until the first one's result was read, unless `force_unique_key` is set. With `Idempotency-Key` the same request may be
sent again: the answer is the first one's job."""
_ABOUT_FILES = """

Files come as `multipart/form-data`: the field `request_json` has the JSON, and each argument `@NAME` stands for the
file of the part NAME."""
_ABOUT_READ = """\
The report of a job that has ended, else that it is running. Where results are kept `once`, reading one removes it; HEAD
removes nothing. `Accept: text/event-stream` follows the job instead."""


def build_paths(prefix: str, commands: Iterable[NamedCommand]) -> Json:
    """Return the routes of all commands."""
    paths: Json = {}
    for command in commands:
        built = (_build_main(command), _build_output(command), _build_input(command), _build_list(command))
        paths |= {f"{prefix}/{command.name}{end}": item for end, item in zip(ENDS, built, strict=True)}
    return paths


def _build_main(command: NamedCommand) -> Json:
    name = command.name
    return {
        "post": describe(
            f"Start {name}",
            f"{name}.start",
            TAG,
            {
                "202": answer("Accepted.", json_of("CommandRunning", _fill(_RUNNING, name))) | _build_links(name),
                **_START_REFUSALS,
            },
            description=_ABOUT_START + (_ABOUT_FILES if command.allow_files else ""),
            parameters=[
                {
                    "name": "Idempotency-Key",
                    "in": "header",
                    "description": "Makes repeating the request harmless.",
                    "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
                }
            ],
            requestBody={"required": False, "content": _build_request(command)},
        ),
        "get": describe(
            f"Read the report of a job of {name}",
            f"{name}.read",
            TAG,
            {
                "200": answer(
                    "The report, or that it is not there yet.",
                    json_of({"anyOf": [ref("CommandReport"), ref("CommandRunning")]}, _REPORT) | _EVENTS,
                ),
                **_READ_REFUSALS,
            },
            description=_ABOUT_READ,
            parameters=[
                _KEY,
                _WAIT,
                query(
                    "timeout",
                    {"type": "number", "exclusiveMinimum": 0, "maximum": SECONDS_MAX},
                    "Seconds that `wait=true` waits at most.",
                ),
            ],
        ),
        "delete": describe(
            f"Stop and forget a job of {name}",
            f"{name}.delete",
            TAG,
            {"204": answer("Nothing of it is left."), **_FIND_REFUSALS},
            parameters=[_KEY],
        ),
    }


def _build_links(name: str) -> Json:
    key = "$response.body#/key"
    return {
        "links": {
            "read": link(f"{name}.read", "Its report.", key=key),
            "output": link(f"{name}.output", "What it writes.", key=key),
            "input": link(f"{name}.input", "What it reads.", key=key),
            "delete": link(f"{name}.delete", "Its end.", key=key),
        }
    }


def _build_request(command: NamedCommand) -> Json:
    schema: str | Json = "CommandRequest"
    if not command.allow_args:
        schema = {"allOf": [ref("CommandRequest"), {"properties": {"args": {"maxItems": 0}}}]}
    content = json_of(schema, {"args": ["hello"]} if command.allow_args else {})
    if command.allow_files:
        content["multipart/form-data"] = {
            "schema": {
                "type": "object",
                "properties": {"request_json": {"type": "string", "contentMediaType": "application/json"}},
                "required": ["request_json"],
                "additionalProperties": {"type": "string", "contentMediaType": "application/octet-stream"},
            },
            "example": {"request_json": '{"args": ["@notes"]}', "notes": "any bytes"},
        }
    return content


def _build_output(command: NamedCommand) -> Json:
    return {
        "get": describe(
            f"Read what a job of {command.name} writes, while it writes",
            f"{command.name}.output",
            TAG,
            {
                "200": answer("Bytes from `offset` on.", {"application/octet-stream": {}, **_EVENTS}, HEADERS),
                **_FIND_REFUSALS,
            },
            description="With `Accept: text/event-stream`: all output, as events; `Last-Event-ID` goes on after one.",
            parameters=[_KEY, *PARAMETERS],
        )
    }


def _build_input(command: NamedCommand) -> Json:
    return {
        "post": describe(
            f"Write input for a job of {command.name}",
            f"{command.name}.input",
            TAG,
            {"204": answer("Taken."), **_INPUT_REFUSALS},
            description="For jobs that were started with `keep_stdin`.",
            parameters=[
                _KEY,
                query("end", {"type": "string", "enum": ["true", "false"]}, "`true` ends its input after this."),
            ],
            requestBody={"required": False, "content": {"application/octet-stream": {}}},
        )
    }


def _build_list(command: NamedCommand) -> Json:
    return {
        "get": describe(
            f"List your jobs of {command.name}",
            f"{command.name}.list",
            TAG,
            {"200": answer("A page of them.", json_of("CommandJobs")), **_FIND_REFUSALS},
            parameters=[
                query(
                    "limit", {"type": "integer", "minimum": 1, "maximum": LIST_MAX, "default": 100}, "Entries at most."
                ),
                query("after", {"type": "string", "maxLength": 64}, "What the page before calls `after`."),
            ],
        )
    }


def _fill(example: Json, name: str) -> Json:
    return {**example, "result_url": example["result_url"].replace("NAME", name)}
