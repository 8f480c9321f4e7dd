"""Asks the host application's controller over HTTP whether a token may run, and what.

Laws: only 200 with a JSON object that is a valid grant lets anything run; a token is asked about once; redirects,
cookies, content encodings and proxies of the environment are not followed, kept, decoded or used; one deadline holds
for the whole answer.
"""

import asyncio
import json
from typing import Any, NoReturn
from urllib.parse import quote

import httpx

from ws_subprocess.auth.gate import EnvironmentRule
from ws_subprocess.auth.grants import ParsedGrant, parse_grant
from ws_subprocess.auth.questions import Questions
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest

BODY_MAX_BYTES = 64 * 1024
_RETRY_AFTER_S = 5
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "ws-subprocess"}


class Controller:
    """The authority at one URL.

    Args:
        url: `http` or `https`; may have a query of its own.
        timeout_s: For connection, headers and body together.
        is_env_refused: Names that a grant may not set.
    """

    def __init__(self, url: str, timeout_s: float, is_env_refused: EnvironmentRule) -> None:
        self._url = httpx.URL(url)
        path, _, query = self._url.raw_path.partition(b"?")
        self._target = path + b"?" + (query + b"&" if query else b"") + b"token="
        self._headers = httpx.Headers({"Host": self._url.netloc.decode("ascii"), **_HEADERS})
        self._timeout_s = timeout_s
        self._is_env_refused = is_env_refused
        self._questions = Questions(self._url)

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        """Return what the controller grants to this token.

        Raises:
            GateError: Refused (`denied`), nobody there, too late, or an answer that is no grant.
        """
        target = self._target + quote(credentials.token, safe="").encode("ascii")
        question = httpx.Request("GET", self._url.copy_with(raw_path=target), headers=self._headers)
        try:
            async with asyncio.timeout(self._timeout_s):
                response, body = await self._questions.ask(question, BODY_MAX_BYTES)
        except TimeoutError as exc:
            detail = f"no complete answer within {self._timeout_s:g} s"
            raise GateError("controller_timeout", detail, _RETRY_AFTER_S) from exc
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as exc:
            raise GateError("controller_unreachable", str(exc), _RETRY_AFTER_S) from exc
        except httpx.HTTPError as exc:
            # Its text quotes the line that cannot be read, which may repeat our question, token and all.
            raise GateError("controller_bad_answer", type(exc).__name__) from exc
        if response.status_code >= 500:
            raise GateError("controller_error", f"status {response.status_code}")
        if response.status_code != 200:
            raise GateError("denied", f"status {response.status_code}")
        _check_body(response, body)
        return parse_grant(_parse_object(body), self._is_env_refused)

    async def close(self) -> None:
        """Close idle connections."""
        await self._questions.close()


def _check_body(response: httpx.Response, body: bytes) -> None:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise GateError("controller_bad_encoding", f"content-encoding: {encoding[:40]!a}")
    if len(body) > BODY_MAX_BYTES:
        raise GateError("controller_too_big", f"answer: more than {BODY_MAX_BYTES} bytes")


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        fields = json.loads(body.decode("utf-8"), object_pairs_hook=_refuse_duplicates, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as exc:
        # The body may hold a secret, so only the kind of error and its place are told.
        raise GateError("controller_bad_json", f"{type(exc).__name__} in an answer of {len(body)} bytes") from exc
    if not isinstance(fields, dict):
        raise GateError("controller_bad_schema", f"answer: a JSON {type(fields).__name__}, not an object")
    return fields


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise ValueError("duplicate key")
    return fields


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
