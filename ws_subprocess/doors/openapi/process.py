"""The process door's routes as OpenAPI describes them. Pure."""

from ws_subprocess.doors.openapi.answers import (
    ASKED,
    GATE,
    JSON_BODY,
    Json,
    answer,
    describe,
    json_of,
    problem_of,
    refuse,
    text,
)
from ws_subprocess.doors.process import PATH
from ws_subprocess.doors.process_forms import EXIT_CODE, EXIT_SIGNAL
from ws_subprocess.doors.process_request import HEADER, Form

TAG = "process"
ABOUT = "Commands that you propose, streamed while they run: a client that leaves ends its command."
_CODES = (
    *ASKED,
    *GATE,
    *JSON_BODY,
    "bad_alias",
    "bad_cwd",
    "bad_timeout",
    "start_failed",
    "alias_running",
    "too_many_sessions",
    "too_many_sessions_user",
    "not_implemented",
)
_ABOUT_START = f"""\
Runs the command and answers with its output as it comes. Without `Accept: {Form.NDJSON}` or `{Form.EVENTS}` the answer
is standard output byte for byte, and the exit status comes as a trailer: `{EXIT_CODE}` or `{EXIT_SIGNAL}`. An answer
that ends without its last chunk lacks something.

Input is `stdin`, or the body itself: then its type is `application/octet-stream`, and the request stands in the header
`X-Process` (base64url).

A bad request is 400 for clients that accept `application/problem+json`, and 500 with rexec's own text for all others.
Every other method is answered 501."""
_EXAMPLE: Json = {"alias": "nightly", "cmd": "/bin/echo", "args": ["hello"]}
_NDJSON = '{"stream":"stdout","data_b64":"aGVsbG8K"}\n{"exit":{"code":0,"signal":null}}\n'
_EVENTS = (
    'event: output\ndata: {"stream":"stdout","data_b64":"aGVsbG8K"}\n\n'
    'event: exit\ndata: {"exit":{"code":0,"signal":null}}\n\n'
)


def build_paths() -> Json:
    """Return the door's one route."""
    return {
        PATH: {
            "post": describe(
                "Run a command and stream its output",
                "runProcess",
                TAG,
                {
                    "200": answer("The command has started.", _build_output(), _build_headers()),
                    **refuse(_CODES, _write_refusal),
                    "500": answer("A bad request, as rexec tells it.", {"*/*": {"schema": {"type": "string"}}}),
                },
                description=_ABOUT_START,
                parameters=[
                    {
                        "name": HEADER.title(),
                        "in": "header",
                        "description": "The request in base64url, where the body is the command's input.",
                        "schema": {"type": "string", "pattern": "^[A-Za-z0-9_-]+={0,2}$", "maxLength": 8192},
                    }
                ],
                requestBody={
                    "required": True,
                    "content": {
                        **json_of("ProcessRequest", _EXAMPLE),
                        "application/octet-stream": {},
                    },
                },
            )
        }
    }


def _build_output() -> Json:
    return {
        str(Form.RAW): {},
        str(Form.NDJSON): {"schema": {"type": "string"}, "example": _NDJSON},
        str(Form.EVENTS): {"schema": {"type": "string"}, "example": _EVENTS},
    }


def _build_headers() -> Json:
    return {"Trailer": {"description": "Where trailers can be sent.", "schema": {"type": "string"}}}


def _write_refusal(status: int, codes: list[str]) -> Json:
    """Return the content of a refusal: without `Accept: application/problem+json` some have no type at all."""
    return {"application/problem+json": {"schema": problem_of(status, codes)}, **text(), "*/*": {}}
