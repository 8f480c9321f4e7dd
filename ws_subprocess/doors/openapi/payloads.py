"""The payload door's routes as OpenAPI describes them. Pure."""

from ws_subprocess.doors.openapi.answers import (
    ASKED,
    BODY,
    GATE,
    STORE,
    Json,
    answer,
    describe,
    json_of,
    link,
    problem,
    query,
    refuse,
)
from ws_subprocess.doors.openapi.job_output import HEADERS, PARAMETERS
from ws_subprocess.doors.payloads import PAGE_MAX, PATH

TAG = "payloads"
ABOUT = "Commands that you propose, as jobs; looking at one takes nothing away."
_LOOKING = (*ASKED, *GATE, *STORE, "queue_full")
_FINDING = (*_LOOKING, "job_unknown", "not_found")
_EXAMPLE: Json = {"cmd": "/bin/echo", "params": ["hello"]}
_PAYLOAD: Json = {
    "status": "finished",
    "cmd": "/bin/echo",
    "params": ["hello"],
    "id": "5e551075e5510475e55104750e551047",
    "state": "finished",
    "exit_code": 0,
    "signal": None,
    "created_at": 1700000000.5,
    "started_at": 1700000000.5,
    "ended_at": 1700000000.75,
    "output_bytes": 6,
    "error_output_bytes": 0,
    "is_truncated": False,
}
_ID: Json = {
    "name": "id",
    "in": "path",
    "required": True,
    "description": "What the payload was given when it was started.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": "^[A-Za-z0-9]+$"},
}
_LINKS: Json = {
    "links": {
        "read": link("readPayload", "What becomes of it.", id="$response.body#/id"),
        "output": link("readPayloadOutput", "What it writes.", id="$response.body#/id"),
        "delete": link("deletePayload", "Its end.", id="$response.body#/id"),
    }
}


def build_paths() -> Json:
    """Return the door's routes."""
    return {PATH: _build_all(), f"{PATH}/{{id}}": _build_one(), f"{PATH}/{{id}}/output": _build_output()}


def _build_all() -> Json:
    started = {**_PAYLOAD, "status": "pending", "state": "pending", "started_at": None, "ended_at": None}
    started |= {"exit_code": None, "output_bytes": 0}
    location = {"Location": {"description": "Where it is.", "schema": {"type": "string"}}}
    starting = (*_LOOKING, *BODY, "bad_json", "bad_schema", "bad_timeout", "bad_cwd")
    return {
        "get": describe(
            "List your payloads",
            "listPayloads",
            TAG,
            {
                "200": answer(
                    "A page of them, the oldest first.",
                    json_of("Payloads", [_PAYLOAD]),
                    {"Link": {"description": "The next page, if there is one.", "schema": {"type": "string"}}},
                ),
                **refuse((*_LOOKING, "bad_schema"), problem),
            },
            parameters=[
                query(
                    "limit", {"type": "integer", "minimum": 1, "maximum": PAGE_MAX, "default": 100}, "Entries at most."
                ),
                query("after", {"type": "string"}, "The last id of the page before."),
            ],
        ),
        "post": describe(
            "Start a payload",
            "startPayload",
            TAG,
            {
                "201": answer("Accepted; it is on the disk.", json_of("Payload", started), location) | _LINKS,
                **refuse(starting, problem),
            },
            description="Whatever its type, the body is read as JSON.",
            requestBody={"required": True, "content": json_of("PayloadRequest", _EXAMPLE)},
        ),
    }


def _build_one() -> Json:
    whole = {**_PAYLOAD, "output": "hello\n", "error_output": ""}
    return {
        "parameters": [_ID],
        "get": describe(
            "Read a payload",
            "readPayload",
            TAG,
            {
                "200": answer("What became of it, and its output.", json_of("PayloadWithOutput", whole)),
                **refuse(_FINDING, problem),
            },
        ),
        "delete": describe(
            "Stop and forget a payload",
            "deletePayload",
            TAG,
            {"204": answer("Nothing of it is left."), **refuse(_FINDING, problem)},
        ),
    }


def _build_output() -> Json:
    return {
        "parameters": [_ID],
        "get": describe(
            "Read what a payload writes, while it writes",
            "readPayloadOutput",
            TAG,
            {
                "200": answer("Bytes from `offset` on.", {"application/octet-stream": {}}, HEADERS),
                **refuse(_FINDING, problem),
            },
            parameters=PARAMETERS,
        ),
    }
