"""Answers as OpenAPI describes them: successes, and refusals from the codes that a route can give. Pure.

Law: status and title of a refusal come from `errors.FAULTS`, so that what is written here is what is sent.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from ws_subprocess.errors import FAULTS

Json = dict[str, Any]
Body = Callable[[int, list[str]], Json]

ASKED = (
    "bad_request",
    "token_ambiguous",
    "token_too_long",
    "token_malformed",
    "unauthorized",
    "host_denied",
    "origin_denied",
    "origin_required",
    "too_many_handshakes",
)
"""Codes of the checks before a body is read; see `bearer.Threshold`."""

GUARDED = ("bad_request", "host_denied", "origin_denied")
"""Codes of routes that ask for no token."""

GATE = (
    *("denied", "right_missing", "command_denied", "gate_unavailable", "no_resources", "draining"),
    *(code for code in FAULTS if code.startswith("controller_")),
)
"""Codes of the question whether a token may do something."""

BODY = ("too_big", "request_timeout", "unsupported_encoding")
JSON_BODY = (*BODY, "unsupported_media_type", "bad_json", "bad_schema")
STORE = ("store_unavailable", "no_space")

REQUEST_ID: Json = {"X-Request-Id": {"$ref": "#/components/headers/X-Request-Id"}}
_RETRY: Json = {"Retry-After": {"$ref": "#/components/headers/Retry-After"}}
_MAY_HELP_LATER = frozenset({429, 503, 507})


def answer(description: str, content: Json | None = None, headers: Json | None = None) -> Json:
    """Return an answer; every one has a request id."""
    told: Json = {"description": description, "headers": {**REQUEST_ID, **(headers or {})}}
    return told if content is None else {**told, "content": content}


def link(operation_id: str, description: str, **parameters: str) -> Json:
    """Return what an answer leads to: an operation, and where in the answer its parameters stand."""
    return {"operationId": operation_id, "description": description, "parameters": parameters}


def json_of(schema: str | Json, example: object = None) -> Json:
    """Return the content of a JSON answer or request.

    Args:
        schema: One, or the name of one in `components`.
    """
    media: Json = {"schema": ref(schema) if isinstance(schema, str) else schema}
    return {"application/json": media if example is None else {**media, "example": example}}


def ref(schema: str) -> Json:
    """Return a reference to a schema of `components`."""
    return {"$ref": f"#/components/schemas/{schema}"}


def refuse(codes: Iterable[str], body: Body) -> Json:
    """Return the answers for error codes by status.

    Args:
        body: Returns the content of an answer with this status for one of these codes.
    """
    by_status: dict[int, list[str]] = {}
    for code in dict.fromkeys(codes):
        by_status.setdefault(FAULTS[code].status, []).append(code)
    return {
        str(status): answer(_list(found), body(status, found), _list_headers(status))
        for status, found in sorted(by_status.items())
    }


def problem(status: int, codes: list[str]) -> Json:
    """Return what is sent in most doors: a problem (RFC 9457) to who accepts JSON, else its title."""
    return {"application/problem+json": {"schema": problem_of(status, codes)}, **text()}


def problem_of(status: int, codes: list[str]) -> Json:
    """Return the schema of a problem that has one of these codes."""
    narrowed = {"properties": {"status": {"const": status}, "code": {"enum": sorted(codes)}}}
    return {"allOf": [ref("Problem"), narrowed]}


def text(example: str | None = None) -> Json:
    """Return the content of an answer that is plain text."""
    media: Json = {"schema": {"type": "string"}}
    return {"text/plain": media if example is None else {**media, "example": example}}


def describe(
    summary: str,
    operation_id: str,
    tag: str,
    answers: Mapping[str, Json],
    **more: Any,
) -> Json:
    """Return an operation; `more` are its other keys."""
    return {"summary": summary, "operationId": operation_id, "tags": [tag], **more, "responses": dict(answers)}


def query(name: str, schema: Json, description: str, **more: Any) -> Json:
    """Return a parameter of the query."""
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


def _list(codes: list[str]) -> str:
    return "; ".join(f"`{code}`: {FAULTS[code].title}" for code in codes)


def _list_headers(status: int) -> Json:
    if status == 401:
        return {"WWW-Authenticate": {"description": "`Bearer`", "schema": {"const": "Bearer"}}}
    return _RETRY if status in _MAY_HELP_LATER else {}
