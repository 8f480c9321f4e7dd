"""How the command door answers: the JSON that Flask-Shell2HTTP's clients know, and errors in the same form."""

from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ws_subprocess.doors.problems import build_response
from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.service.job import Job

# What the old contract says in words of its own stands in `detail` alone.
_OLD_WORDS = frozenset({"bad_request", "job_unknown", "job_exists", "bad_multipart", "spawn_failed"})
_NO_STORE = {"Cache-Control": "no-store"}


class NoKeyError(RequestError):
    """The query names no job."""

    def __init__(self) -> None:
        super().__init__("bad_request", "No key provided in arguments.")


def answer(fields: object, status: int = 200) -> Response:
    """Return a JSON answer that nobody keeps."""
    return JSONResponse(fields, status, dict(_NO_STORE))


def refuse_request(error: BridgeError, request: Request) -> Response:
    """Return the answer to an error: a problem (RFC 9457) for who asks for one, else `{error, code}`."""
    response = build_response(error, request.headers)
    if "application/problem+json" in request.headers.get("accept", "").lower():
        return response
    del response.headers["content-type"], response.headers["content-length"]
    status = 400 if error.code == "job_exists" else error.fault.status
    return JSONResponse({"error": _explain(error), "code": error.code}, status, dict(response.headers))


def get_base_url(request: Request) -> str:
    """Return the request's URL without its query."""
    return str(request.url.replace(query="", fragment=""))


def build_result_url(base_url: str, key: str) -> str:
    """Return where the result of a job is, as its client has to spell it."""
    return f"{base_url}?{urlencode({'key': key, 'wait': 'false'})}"


def describe_running(request: Request, job: Job) -> dict[str, object]:
    """Return what is told of a job that has not ended."""
    return {"status": "running", "key": job.key, "result_url": build_result_url(get_base_url(request), job.key)}


def describe_taken(request: Request, job: Job) -> dict[str, object]:
    """Return what is told when a job with this key is there already."""
    error = f"future_key {job.key} already exists"
    return {
        "error": error,
        "code": "job_exists",
        "key": job.key,
        "result_url": build_result_url(get_base_url(request), job.key),
    }


def describe_job(base_url: str, job: Job) -> dict[str, object]:
    """Return a job's line of a list."""
    return {
        "key": job.key,
        "status": job.state.value,
        "created_time": job.created_at,
        "start_time": job.started_at,
        "end_time": job.ended_at,
        "result_url": build_result_url(base_url, job.key),
    }


def _explain(error: BridgeError) -> str:
    if not error.detail or not error.detail_is_public:
        return error.fault.title
    return error.detail if error.code in _OLD_WORDS else f"{error.fault.title}: {error.detail}"
