"""One error tree and one table from error code to what each kind of peer is told.

Law: a code stands in `FAULTS`, a reason there or in `REASONS`, or it cannot be raised. PROTOCOL.md shows the same
tables, held by tests/test_docs.py.
"""

from dataclasses import dataclass

from ws_subprocess.model import Grant


@dataclass(frozen=True, slots=True)
class Fault:
    """What a code means to an HTTP client (`status`), a websocket client (`close_code`) and a person (`title`)."""

    status: int
    close_code: int
    title: str


FAULTS: dict[str, Fault] = {
    # The request itself.
    "bad_request": Fault(400, 1002, "Bad request"),
    "bad_size": Fault(400, 1008, "Bad terminal size"),
    "token_missing": Fault(400, 1008, "Token missing"),
    "token_ambiguous": Fault(400, 1008, "Token given more than once"),
    "token_too_long": Fault(400, 1008, "Token too long"),
    "token_malformed": Fault(400, 1008, "Token malformed"),
    "host_denied": Fault(403, 1008, "Host not allowed"),
    "origin_denied": Fault(403, 1008, "Origin not allowed"),
    "origin_required": Fault(403, 1008, "Origin required"),
    "not_found": Fault(404, 1008, "Not Found"),
    "method_not_allowed": Fault(405, 1008, "Method Not Allowed"),
    "unauthorized": Fault(401, 1008, "Token missing"),
    "unsupported_media_type": Fault(415, 1003, "Unsupported media type"),
    "unsupported_encoding": Fault(415, 1003, "Unsupported content encoding"),
    "too_big": Fault(413, 1009, "Too big"),
    "request_timeout": Fault(408, 1008, "Request took too long"),
    "bad_json": Fault(400, 1007, "Bad JSON"),
    "bad_schema": Fault(400, 1008, "Bad request body"),
    "bad_multipart": Fault(400, 1007, "Bad multipart body"),
    "bad_timeout": Fault(400, 1008, "Bad timeout"),
    "bad_alias": Fault(400, 1008, "Bad alias"),
    "bad_cwd": Fault(400, 1008, "Bad working directory"),
    "start_failed": Fault(404, 1011, "Cannot start command"),
    "alias_running": Fault(409, 1008, "Alias is running"),
    "not_implemented": Fault(501, 1008, "Invalid path."),
    "job_unknown": Fault(404, 1008, "No such job"),
    "job_exists": Fault(409, 1008, "Job exists already"),
    "idempotency_conflict": Fault(409, 1008, "Idempotency key used for another request"),
    "callback_denied": Fault(400, 1008, "Callback not allowed"),
    "queue_full": Fault(503, 1013, "Too many jobs"),
    "no_space": Fault(507, 1013, "No space for jobs"),
    "store_unavailable": Fault(503, 1013, "Jobs cannot be stored"),
    "upgrade_required": Fault(426, 1002, "Upgrade Required"),
    "too_many_handshakes": Fault(429, 1013, "Too many requests"),
    # The gate.
    "denied": Fault(403, 1008, "Invalid token"),
    "right_missing": Fault(403, 1008, "Not permitted"),
    "command_denied": Fault(403, 1008, "Command not allowed"),
    "gate_unavailable": Fault(503, 1013, "Tokens cannot be checked"),
    "controller_error": Fault(502, 1011, "Controller error"),
    "controller_bad_answer": Fault(502, 1011, "Controller error"),
    "controller_too_big": Fault(502, 1011, "Controller error"),
    "controller_bad_encoding": Fault(502, 1011, "Controller error"),
    "controller_bad_json": Fault(502, 1011, "Controller error"),
    "controller_bad_schema": Fault(502, 1011, "Controller error"),
    "controller_bad_command": Fault(502, 1011, "Controller error"),
    "controller_bad_env": Fault(502, 1011, "Controller error"),
    "controller_bad_signature": Fault(502, 1011, "Controller error"),
    "controller_busy": Fault(503, 1013, "Controller busy"),
    "controller_unreachable": Fault(503, 1013, "Controller unreachable"),
    "controller_timeout": Fault(504, 1013, "Controller timeout"),
    # Starting the command.
    "spawn_cwd": Fault(502, 1011, "Cannot start command"),
    "spawn_failed": Fault(502, 1011, "Cannot start command"),
    "spawn_user": Fault(502, 1011, "Cannot start command"),
    "spawn_limits": Fault(502, 1011, "Cannot start command"),
    "no_resources": Fault(503, 1013, "Server at capacity"),
    "too_many_sessions": Fault(503, 1013, "Too many sessions"),
    "too_many_sessions_user": Fault(429, 1013, "Too many sessions"),
    "draining": Fault(503, 1012, "Server is shutting down"),
    # A running session.
    "bad_message": Fault(400, 1008, "Bad message"),
    "bad_resize": Fault(400, 1008, "Bad size"),
    "bad_signal": Fault(400, 1008, "Bad signal"),
    "bad_ack": Fault(400, 1008, "Bad acknowledgement"),
    "unknown_message": Fault(400, 1008, "Unknown message"),
    "too_many_errors": Fault(400, 1008, "Too many bad messages"),
    "read_only": Fault(403, 1008, "Session is read-only"),
    "signal_denied": Fault(403, 1008, "Signal not permitted"),
    "not_running": Fault(409, 1008, "Command is not running"),
    "line_truncated_risk": Fault(400, 1008, "Line too long for the terminal"),
    "output_lost": Fault(410, 1011, "Output lost"),
    "idle_timeout": Fault(408, 4408, "Idle for too long"),
    "lifetime_exceeded": Fault(408, 4410, "Session lived its time"),
    "timed_out": Fault(408, 4408, "Time is up"),
    "output_exceeded": Fault(413, 4413, "Too much output"),
    "internal_error": Fault(500, 1011, "Internal error"),
}

REASONS: dict[str, str] = {
    "token_unknown": "no authority knows the token",
    "token_used": "the token counts once, and was used before",
    "token_door": "the token is not for this door",
    "token_expired": "a static token whose time is over",
    "token_command": "the token does not allow the proposed command",
    "jwt_format": "not three parts of base64url JSON",
    "jwt_header": "a header that names a key's place: jku, x5u, jwk, x5c",
    "jwt_crit": "a header with crit or b64",
    "jwt_type": "another typ",
    "jwt_alg": "another algorithm than the key's",
    "jwt_key": "no such key",
    "jwt_signature": "the signature is wrong",
    "jwt_claims": "a claim is missing or wrong, or makes no valid grant",
    "jwt_expired": "exp has passed",
    "jwt_not_yet": "iat or nbf is to come",
    "jwt_audience": "for somebody else (aud)",
    "jwt_issuer": "from somebody else (iss)",
    "breaker_open": "not asked: the controller has left the last questions unanswered",
    "cwd_denied": "the grant's cwd is not in allow_cwds",
    "user_denied": "the grant's user is not in allow_users, is root, or not in the grant's group",
}
"""Finer codes, for the audit and the metrics only: what is wrong with a token helps who forges one."""


class BridgeError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
        code: A key of `FAULTS`; stable, for programs.
        detail: The thing and the value, for the log; told to a client only where `detail_is_public`.
        retry_after_s: When trying again may help, else None.
        grant: What it was about, when something had been granted already.
        reason: The code, or a finer one: a key of `REASONS`, never told to a client.
    """

    detail_is_public = False

    def __init__(self, code: str, detail: str = "", retry_after_s: int | None = None, reason: str = "") -> None:
        self.fault = FAULTS[code]
        self.code = code
        self.detail = detail
        self.retry_after_s = retry_after_s
        if reason not in ("", code) and reason not in REASONS:
            raise KeyError(reason)
        self.reason = reason or code
        self.grant: Grant | None = None
        super().__init__(f"{self.fault.title}: {detail}" if detail else self.fault.title)


class RequestError(BridgeError):
    """What the client sent cannot be used; telling it why gives nothing away."""

    detail_is_public = True


class GateError(BridgeError):
    """The gate did not grant: refused, or nobody could be asked."""


class GrantError(GateError):
    """An authority's answer is no valid grant."""


class SpawnError(BridgeError):
    """A granted command could not be started."""


class CapacityError(BridgeError):
    """There is no room now; `retry_after_s` says when to come back."""
