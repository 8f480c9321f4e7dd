"""Asks the host application's controller over HTTP whether a token may run, and what.

Laws: only 200 with a JSON object that is a valid grant lets anything run, and where there is a key only a signed one; a
token is asked about once; redirects, cookies, content encodings and proxies of the environment are not followed, kept,
decoded or used; one deadline holds for the place in the queue and the whole answer.
"""

import asyncio
import hashlib
import json
import logging
import math
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any
from urllib.parse import quote

import httpx

from ws_subprocess.auth.breaker import REST_S, Breaker
from ws_subprocess.auth.gate import EnvironmentRule
from ws_subprocess.auth.grants import ParsedGrant, SingleUse, parse_grant
from ws_subprocess.auth.questions import NoResourcesError, Questions
from ws_subprocess.auth.signature import HEADER, KEY_MIN_BYTES, is_signed
from ws_subprocess.auth.strict_json import parse_json
from ws_subprocess.errors import CapacityError, GateError
from ws_subprocess.model import Credentials, LaunchRequest, Proposal

HEAD_MAX_BYTES = 32 * 1024
BODY_MAX_BYTES = 64 * 1024
USED_TOKEN_TTL_S = 30 * 86_400.0
_RETRY_AFTER_S = 5
_NOTHING = httpx.ByteStream(b"")
_HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "ws-subprocess"}

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ControllerSettings:
    """Where the controller is, and how it is asked.

    Attributes:
        url: `http` or `https`; may have a query of its own.
        timeout_s: For the place in the queue (half of it at most), connection, headers and body together.
        max_questions: At a time; others wait.
        socket: Path of a unix socket to connect to in place of the URL's host; "" for none.
        tls: What `client_tls.build_context` made for an https URL; None for the public certificates.
        hmac_key: What answers with 200 must be signed with, at least `KEY_MIN_BYTES`; None for no signature.
        is_token_once: Whether a token that was granted is used up by it.
    """

    url: str
    timeout_s: float = 5.0
    max_questions: int = 64
    socket: str = ""
    tls: ssl.SSLContext | None = None
    hmac_key: bytes | None = field(default=None, repr=False)
    is_token_once: bool = False

    def __post_init__(self) -> None:
        if self.hmac_key is not None and len(self.hmac_key) < KEY_MIN_BYTES:
            text = f"{len(self.hmac_key)} bytes, at least {KEY_MIN_BYTES}; make a key with `openssl rand -hex 32`"
            raise ValueError(f"controller_hmac_key: {text}")


@dataclass(frozen=True, slots=True)
class _Question:
    """A request, and the part of it that the answer's signature is bound to."""

    request: httpx.Request
    asked: bytes = field(repr=False)


class Controller:
    """The authority at one URL.

    Args:
        is_env_refused: Names that a grant may not set.
        clock: Seconds, monotonic.
        wall_clock: Seconds since the epoch.
    """

    def __init__(
        self,
        settings: ControllerSettings,
        is_env_refused: EnvironmentRule,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._is_env_refused = is_env_refused
        self._clock = clock
        self._wall_clock = wall_clock
        self._url = httpx.URL(settings.url)
        path, _, query = self._url.raw_path.partition(b"?")
        self._target = path + b"?" + (query + b"&" if query else b"") + b"token="
        headers = {"Host": self._url.netloc.decode("ascii"), **_HEADERS}
        self._headers = httpx.Headers(headers)
        self._post_headers = httpx.Headers({**headers, "Content-Type": "application/json"})
        self._questions = Questions(self._url, settings.tls, settings.socket)
        self._places = asyncio.Semaphore(settings.max_questions)
        self._breaker = Breaker()

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        """Return what the controller grants to this token.

        Raises:
            GateError: Refused (`denied`), nobody there, too late, or an answer that is no grant.
            CapacityError: There are no descriptors left to ask with.
        """
        question = self._build_question(credentials.token, request)
        response, body = await self._put(question)
        return self._read_grant(credentials.token, question, response, body)

    async def close(self) -> None:
        """Close idle connections."""
        await self._questions.close()

    def _build_question(self, token: str, wanted: LaunchRequest) -> _Question:
        if wanted.proposal is not None:
            body = _write_proposal(token, wanted, wanted.proposal)
            return _Question(httpx.Request("POST", self._url, headers=self._post_headers, content=body), body)
        # The target and the empty body as they are: httpx would spend as long on them as on the rest of the request.
        target = {"target": self._target + quote(token, safe="").encode("ascii")}
        request = httpx.Request("GET", self._url, headers=self._headers, stream=_NOTHING, extensions=target)
        return _Question(request, token.encode())

    async def _put(self, question: _Question) -> tuple[httpx.Response, bytes]:
        """Return the answer, after waiting for a place; tell the breaker how it ended."""
        self._check_breaker()
        begun_s = asyncio.get_running_loop().time()
        until_s = begun_s + self._settings.timeout_s
        number = None
        try:
            # Half the time for the queue, so that nobody is asked for an answer that no one could wait for any more.
            async with asyncio.timeout_at(begun_s + self._settings.timeout_s / 2) as deadline, self._places:
                deadline.reschedule(until_s)
                # Those that were asked while this one waited may have found nobody there.
                self._check_breaker()
                number = self._breaker.begin()
                answer = await self._questions.ask(question.request, BODY_MAX_BYTES, until_s)
        except TimeoutError as exc:
            raise self._be_late(number) from exc
        except httpx.ConnectError as exc:
            self._note_failure(number)
            raise GateError("controller_unreachable", str(exc), _RETRY_AFTER_S) from exc
        except NoResourcesError as exc:
            raise CapacityError("no_resources", f"question to the controller: {exc}", 1) from exc
        except httpx.HTTPError as exc:
            # Whoever breaks off is there: a token that makes it do so must not shut the others out.
            self._note_answer()
            # Its text quotes the line that cannot be read, which may repeat our question, token and all.
            raise GateError("controller_bad_answer", type(exc).__name__) from exc
        finally:
            # Whose client left, for one: it decides nothing. Without effect where the end was noted.
            self._breaker.give_up(number)
        self._note_answer()
        return answer

    def _be_late(self, number: int | None) -> GateError:
        if number is None:
            detail = f"not asked: no place within {self._settings.timeout_s / 2:g} s"
            detail += f", controller_max_questions = {self._settings.max_questions}"
            return GateError("controller_busy", detail, _RETRY_AFTER_S)
        self._note_failure(number)
        detail = f"no complete answer within {self._settings.timeout_s:g} s"
        return GateError("controller_timeout", detail, _RETRY_AFTER_S)

    def _check_breaker(self) -> None:
        if rest_s := self._breaker.rest_s(self._clock()):
            detail = "not asked: the last questions got no answer"
            raise GateError("controller_unreachable", detail, math.ceil(rest_s), reason="breaker_open")

    def _note_answer(self) -> None:
        if self._breaker.note_answer():
            log.info("controller answers again")

    def _note_failure(self, number: int | None) -> None:
        if self._breaker.note_failure(number, self._clock()):
            log.warning("controller does not answer, so it is asked now and then only", extra={"rest_s": REST_S})

    def _read_grant(self, token: str, question: _Question, response: httpx.Response, body: bytes) -> ParsedGrant:
        if response.status_code >= 500:
            raise GateError("controller_error", f"status {response.status_code}")
        if response.status_code != 200:
            raise GateError("denied", f"status {response.status_code}")
        _check_size(response, body)
        if self._settings.hmac_key is not None:
            _check_signature(self._settings.hmac_key, question, response, body)
        parsed = parse_grant(_parse_object(body), self._is_env_refused)
        if not self._settings.is_token_once:
            return parsed
        key = hashlib.sha256(b"token:" + token.encode()).digest()
        return replace(parsed, single_use=SingleUse(key, self._wall_clock() + USED_TOKEN_TTL_S))


def _write_proposal(token: str, request: LaunchRequest, proposal: Proposal) -> bytes:
    fields = {
        "token": token,
        "door": request.door,
        "command": proposal.command,
        "args": proposal.args,
        "cwd": proposal.cwd,
        "env": dict(proposal.env),
        "peer": request.peer,
    }
    return json.dumps(fields, separators=(",", ":")).encode("ascii")


def _check_size(response: httpx.Response, body: bytes) -> None:
    head_bytes = sum(len(name) + len(value) for name, value in response.headers.raw)
    if head_bytes > HEAD_MAX_BYTES:
        raise GateError("controller_bad_answer", f"headers: {head_bytes} bytes, at most {HEAD_MAX_BYTES}")
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() != "identity":
        raise GateError("controller_bad_encoding", f"content-encoding: {encoding[:40]!a}")
    if len(body) > BODY_MAX_BYTES:
        raise GateError("controller_too_big", f"answer: more than {BODY_MAX_BYTES} bytes")


def _check_signature(key: bytes, question: _Question, response: httpx.Response, body: bytes) -> None:
    signature = response.headers.get(HEADER)
    if signature is None:
        raise GateError("controller_bad_signature", f"answer: no {HEADER}, and controller_hmac_key asks for one")
    if not is_signed(key, question.request.method, question.asked, body, signature):
        raise GateError("controller_bad_signature", f"answer: {HEADER} is not that of this answer to this question")


def _parse_object(body: bytes) -> dict[str, Any]:
    try:
        fields = parse_json(body)
    except ValueError as exc:
        # The body may hold a secret, so only the kind of error and its place are told.
        raise GateError("controller_bad_json", f"{exc} in an answer of {len(body)} bytes") from exc
    if not isinstance(fields, dict):
        raise GateError("controller_bad_schema", f"answer: a JSON {type(fields).__name__}, not an object")
    return fields
