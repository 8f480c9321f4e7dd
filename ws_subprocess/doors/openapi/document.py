"""The whole description, from the doors that are open: OpenAPI 3.1 (spec.openapis.org/oas/v3.1.1). Pure.

Law: what a daemon does not serve is not in its description, and what it serves is.
"""

import json
from dataclasses import dataclass

from ws_subprocess import __version__
from ws_subprocess.doors.openapi import commands, daemon, payloads, process, rpc
from ws_subprocess.doors.openapi.answers import Json
from ws_subprocess.doors.openapi.schemas import SCHEMAS
from ws_subprocess.doors.request_ids import PATTERN
from ws_subprocess.service.named_command import NamedCommand

_ABOUT = """\
Every request to a door that runs commands shows a token: `Authorization: Bearer TOKEN`. What a token may run is decided
anew for each start; to look at a job or a session, or to end it, the token that started it is enough.

Errors are problems (RFC 9457) for clients that accept `application/problem+json`, else what the door's clients have
always been told. Every answer has an `X-Request-Id`: the one that was sent, or a new one; the daemon's log and audit
have it, too. HEAD is GET without the body and takes nothing away; methods that a route has not are answered 405 with
`Allow`."""


@dataclass(frozen=True, slots=True)
class OpenDoors:
    """The HTTP doors that are open.

    Attributes:
        commands: Those of the command door, below `commands_prefix`.
    """

    process: bool = False
    payloads: bool = False
    rpc: bool = False
    commands: tuple[NamedCommand, ...] = ()
    commands_prefix: str = ""


def build_document(doors: OpenDoors) -> Json:
    """Return the description, but for `servers`: where it is depends on who asks."""
    parts = [(daemon.TAG, daemon.ABOUT, daemon.build_paths())]
    schemas = dict(SCHEMAS)
    if doors.process:
        parts.append((process.TAG, process.ABOUT, process.build_paths()))
    if doors.commands:
        parts.append((commands.TAG, commands.ABOUT, commands.build_paths(doors.commands_prefix, doors.commands)))
    if doors.payloads:
        parts.append((payloads.TAG, payloads.ABOUT, payloads.build_paths()))
    if doors.rpc:
        parts.append((rpc.TAG, rpc.ABOUT, rpc.build_paths()))
        schemas |= rpc.build_schemas()
    # What people look for stands first.
    parts = [*parts[1:], parts[0]]
    paths = {path: item for _, _, items in parts for path, item in items.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "ws-subprocess",
            "version": __version__,
            "summary": "Approved commands over HTTP.",
            "description": _ABOUT,
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"bearer": []}],
        "tags": [{"name": tag, "description": about} for tag, about, _ in parts],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "responses": _share_answers(paths),
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "headers": _HEADERS,
        },
    }


def _share_answers(paths: Json) -> Json:
    """Replace answers in `paths` by references, and return what they refer to: most routes refuse alike."""
    names: dict[str, str] = {}
    shared: Json = {}
    for operation in list_operations(paths):
        for status, told in operation["responses"].items():
            text = json.dumps(told)
            if text not in names:
                names[text] = f"{operation['tags'][0]}-{status}-{len(names) + 1}"
                shared[names[text]] = told
            operation["responses"][status] = {"$ref": f"#/components/responses/{names[text]}"}
    return shared


def list_operations(paths: Json) -> list[Json]:
    """Return the operations of all paths."""
    return [operation for item in paths.values() for key, operation in item.items() if key != "parameters"]


_HEADERS: Json = {
    "X-Request-Id": {
        "description": "The request's name in the daemon's log.",
        "required": True,
        "schema": {"type": "string", "pattern": f"^{PATTERN}$"},
    },
    "Retry-After": {
        "description": "Seconds until trying again may help.",
        "schema": {"type": "string", "pattern": "^[0-9]+$"},
    },
}
