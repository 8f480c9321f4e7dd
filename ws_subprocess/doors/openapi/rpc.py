"""The RPC door's routes as OpenAPI describes them. Pure."""

from ws_subprocess.dialects.events import SIGNAL_NAMES
from ws_subprocess.dialects.weerpc import V1_0, V1_1, Version
from ws_subprocess.doors.openapi.answers import ASKED, BODY, Json, answer, describe, json_of, problem, ref, refuse
from ws_subprocess.model import SIZE_MAX
from ws_subprocess.service.calls import BATCH_MAX
from ws_subprocess.service.session_functions import OUTPUT_MAX_BYTES, WAIT_MAX_S

TAG = "rpc"
ABOUT = "Sessions by function calls, in weeRPC or JSON-RPC 2.0."
ROUTES = {"/rpc": V1_1, "/rpc/1.0": V1_0}
_SESSION: Json = {"session": {"type": "string"}}
_SIZE: Json = {name: {"type": "integer", "minimum": 1, "maximum": SIZE_MAX} for name in ("rows", "cols")}
_WAIT: Json = {"type": "number", "minimum": 0, "maximum": WAIT_MAX_S}
_TEXTS: Json = {"type": "array", "items": {"type": "string"}}

FUNCTIONS: dict[str, tuple[str, Json]] = {
    "start": (
        "Start what the gate grants.",
        {
            "command": {"type": "string"},
            "args": _TEXTS,
            "cwd": {"type": "string"},
            "env": {"type": "object", "additionalProperties": {"type": "string"}},
            "tty": {"type": "boolean", "default": True},
            **_SIZE,
        },
    ),
    "list": ("Name your sessions.", {"principal": {"type": "boolean", "default": False}}),
    "write": (
        "Type.",
        {
            **_SESSION,
            "text": {"type": "string"},
            "base64": {"type": "string", "contentEncoding": "base64"},
            "eof": {"type": "boolean", "default": False},
        },
    ),
    "resize": ("Set the terminal's size.", {**_SESSION, **_SIZE}),
    "signal": ("Signal the command.", {**_SESSION, "signal": {"type": "string", "enum": list(SIGNAL_NAMES)}}),
    "wait": ("Wait until nothing of a session is left, or the time is up.", {**_SESSION, "timeout_s": _WAIT}),
    "output": (
        "Return what follows an offset.",
        {
            **_SESSION,
            "offset": {"type": "integer", "minimum": 0, "default": 0},
            "limit": {"type": "integer", "minimum": 1, "maximum": OUTPUT_MAX_BYTES},
            "timeout_s": _WAIT,
        },
    ),
}
"""The daemon's functions: what each does, and the fields of its argument."""

_CODES = (*ASKED, *BODY, "not_found")
_ABOUT_CALL = f"""\
Whatever a call comes to is 200; `ok` or `error` says what. 204 answers a request of notifications alone. At most
{BATCH_MAX} calls may come together.

| Function | What it does | Fields of its argument |
|---|---|---|
""" + "\n".join(
    f"| `{name}` | {about} | {', '.join(f'`{field}`' for field in fields)} |"
    for name, (about, fields) in FUNCTIONS.items()
)


def build_paths() -> Json:
    """Return the door's routes: one for each version of weeRPC."""
    return {path: {"post": _build_call(path, version)} for path, version in ROUTES.items()}


def build_schemas() -> Json:
    """Return the schemas that the routes refer to."""
    schemas: Json = {
        f"Rpc.{name}": {"type": ["object", "null"], "description": about, "properties": fields}
        for name, (about, fields) in FUNCTIONS.items()
    }
    schemas["JsonRpcCall"] = {
        "anyOf": [_write_call({"jsonrpc": {"const": "2.0"}}, "method", "params", name) for name in FUNCTIONS],
        "properties": {"id": {"type": ["string", "integer", "null"], "description": "None: no answer is wanted."}},
        "required": ["jsonrpc", "method"],
    }
    schemas["JsonRpcAnswer"] = {
        "type": "object",
        "required": ["jsonrpc", "id"],
        "properties": {
            "jsonrpc": {"const": "2.0"},
            "result": {},
            "error": {
                "type": "object",
                "required": ["code", "message"],
                "properties": {"code": {"type": "integer"}, "message": {"type": "string"}, "data": {}},
            },
            "id": {"type": ["string", "number", "null"]},
        },
        "oneOf": [{"required": ["result"]}, {"required": ["error"]}],
    }
    for version in ROUTES.values():
        number = {version.key: {"const": version.number}}
        calls = [_write_call(number, "function", "data", name) for name in FUNCTIONS]
        schemas[_name(version) + "Call"] = {"anyOf": calls, "required": [version.key, "function", "data"]}
        schemas[_name(version) + "Answer"] = {
            "type": "object",
            "required": [version.key, "ok", "message", "data"],
            "properties": {
                **number,
                "ok": {"type": "boolean"},
                "message": {"type": ["string", "null"]},
                "data": {"description": "What the function returned."},
            },
        }
    return schemas


def _build_call(path: str, version: Version) -> Json:
    call, told = ref(_name(version) + "Call"), ref(_name(version) + "Answer")
    batch = {"type": "array", "items": ref("JsonRpcCall"), "minItems": 1, "maxItems": BATCH_MAX}
    answers = {"type": "array", "items": ref("JsonRpcAnswer")}
    example = {version.key: version.number, "function": "start", "data": {"command": "/bin/date"}}
    done = {version.key: version.number, "ok": True, "message": None, "data": {"session": "5e551075e5510475"}}
    return describe(
        f"Call a function in {version.key} {version.number} or JSON-RPC 2.0",
        f"call{_name(version)}",
        TAG,
        {
            "200": answer("What came of it.", json_of({"anyOf": [told, ref("JsonRpcAnswer"), answers]}, done)),
            "204": answer("No call wanted an answer."),
            **refuse(_CODES, problem),
        },
        description=_ABOUT_CALL,
        requestBody={"required": True, "content": json_of({"anyOf": [call, ref("JsonRpcCall"), batch]}, example)},
    )


def _write_call(version: Json, function: str, data: str, name: str) -> Json:
    return {"type": "object", "properties": {**version, function: {"const": name}, data: ref(f"Rpc.{name}")}}


def _name(version: Version) -> str:
    return "WeeRpc" if version is V1_1 else "WeeRpc10"
