"""The daemon's own routes, its pages and figures and the terminal, as OpenAPI describes them. Pure."""

from ws_subprocess.doors.openapi.answers import ASKED, GATE, GUARDED, Json, answer, describe, problem, refuse, text
from ws_subprocess.errors import FAULTS

TAG = "daemon"
ABOUT = "The terminal, the pages, and what operators look at."
_HTML: Json = {"text/html": {"schema": {"type": "string"}}}
_NO_TOKEN: Json = {"security": []}
_ABOUT_TERMINAL = """\
A websocket onto a command; PROTOCOL.md says what goes through it. Without an upgrade it answers why a token was refused
a moment ago, or 426. The token may also come as `?token=` or in a subprotocol `bearer.TOKEN`."""


def build_paths() -> Json:
    """Return the routes that every daemon has."""
    return {
        "/": _get_page("The page with the terminal", "readPage"),
        "/docs": _get_page("This description, for people", "readDocs"),
        "/openapi.json": {
            "get": _describe(
                "This description", "readOpenApi", {"200": answer("OpenAPI 3.1.", {"application/json": {}})}
            )
        },
        "/static/{file}": {
            "get": _describe(
                "A file of the pages",
                "readFile",
                {
                    "200": answer("The file.", {"*/*": {}}),
                    "304": answer("You have it."),
                    **refuse((*GUARDED, "not_found"), problem),
                },
            ),
            "parameters": [
                {
                    "name": "file",
                    "in": "path",
                    "required": True,
                    "description": "May hold slashes.",
                    "schema": {"type": "string", "pattern": "^[a-z0-9/-]+\\.[a-z]{2,4}$"},
                    "example": "rpc.js",
                }
            ],
        },
        "/healthz": {"get": _describe("Does it live?", "readHealth", {"200": answer("It does.", text("ok\n"))})},
        "/readyz": {
            "get": _describe(
                "Does it take new sessions?",
                "readReadiness",
                {"200": answer("It does.", text("ready\n")), "503": answer("It is ending.", text("draining\n"))},
            )
        },
        "/metrics": {
            "get": _describe(
                "Its figures, as Prometheus reads them",
                "readMetrics",
                {"200": answer("The figures.", text()), **refuse((*GUARDED, "not_found"), problem)},
                description="To whom, the setting `metrics` says; to others they are not there.",
            )
        },
        "/ws": _build_terminal(),
    }


def _build_terminal() -> Json:
    refusals = ("token_missing", "upgrade_required", "too_many_sessions", "too_many_sessions_user", "not_found")
    starting = tuple(code for code in FAULTS if code.startswith("spawn_"))
    codes = (*ASKED, *GATE, *refusals, *starting, "bad_size")
    return {
        "get": describe(
            "Open a terminal",
            "openTerminal",
            TAG,
            {"101": answer("It is a websocket now."), **refuse(_without(codes, "unauthorized"), problem)},
            description=_ABOUT_TERMINAL,
        ),
        "options": describe(
            "Ask whether a page may send its token",
            "askTerminal",
            TAG,
            {"204": answer("What may be sent, for pages of allowed origins.")},
            **_NO_TOKEN,
        ),
    }


def _get_page(summary: str, operation_id: str) -> Json:
    return {"get": _describe(summary, operation_id, {"200": answer("The page.", _HTML)})}


def _describe(summary: str, operation_id: str, answers: Json, **more: object) -> Json:
    refusals = refuse(GUARDED, problem)
    return describe(summary, operation_id, TAG, {**refusals, **answers}, **_NO_TOKEN, **more)


def _without(codes: tuple[str, ...], code: str) -> tuple[str, ...]:
    return tuple(other for other in codes if other != code)
