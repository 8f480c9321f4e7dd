"""From a body to the answer: reads calls in weeRPC or JSON-RPC, runs the functions, and says what came of it.

Laws: what a function raises is logged, and nothing of it is told; one deadline holds for all calls of a request;
whatever a function returns, there is an answer.
"""

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from ws_subprocess.auth.strict_json import parse_json
from ws_subprocess.dialects import jsonrpc, weerpc
from ws_subprocess.dialects.outcomes import BROKEN, LATE, Fate, Outcome, read_outcome
from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.service.foreign import is_for_us
from ws_subprocess.service.functions import Caller, Function, FunctionTable

BATCH_MAX = 50

log = logging.getLogger(__name__)


class Dispatcher:
    """Answers for the functions of one table.

    Args:
        timeout_s: How long all calls of a request may take together.
    """

    def __init__(self, table: FunctionTable, version: weerpc.Version, timeout_s: float) -> None:
        self._table = table
        self._version = version
        self._timeout_s = timeout_s

    async def answer(self, body: bytes | None, caller: Caller) -> str | None:
        """Return the answer, None where there is none to be given.

        Args:
            body: None for one that does not claim to be JSON.

        Raises:
            RequestError: `too_big`: more calls than a batch may have.
        """
        if body is None:
            return self._refuse(weerpc.NOT_JSON_TYPE, caller)
        deadline = asyncio.get_running_loop().time() + self._timeout_s
        try:
            value = parse_json(body)
        except ValueError:
            if jsonrpc.seems_meant(body):
                return jsonrpc.encode_parse_error()
            return self._refuse(weerpc.NOT_JSON, caller)
        if not jsonrpc.is_meant(value):
            return await self._answer_weerpc(value, caller, deadline)
        if isinstance(value, list):
            return await self._answer_batch(value, caller, deadline)
        return await self._answer_jsonrpc(value, caller, deadline)

    async def _answer_weerpc(self, value: Any, caller: Caller, deadline: float) -> str:
        if refusal := self._find_refusal(caller):
            return weerpc.encode_refusal(refusal, self._version)
        try:
            call = weerpc.read_call(value, self._version)
        except weerpc.BadCallError as exc:
            return weerpc.encode_refusal(str(exc), self._version)
        outcome = await self._run(call.function, call.data, caller, deadline)
        return _encode(call.function, lambda told: weerpc.encode_outcome(told, self._version), outcome)

    async def _answer_batch(self, values: list[Any], caller: Caller, deadline: float) -> str | None:
        if len(values) > BATCH_MAX:
            raise RequestError("too_big", f"batch: {len(values)} calls, at most {BATCH_MAX}")
        # One after the other, as somebody who sends `write` before `wait` would expect.
        answers = [await self._answer_jsonrpc(value, caller, deadline) for value in values]
        told = [answer for answer in answers if answer is not None]
        return f"[{','.join(told)}]" if told else None

    async def _answer_jsonrpc(self, value: Any, caller: Caller, deadline: float) -> str | None:
        call = jsonrpc.read_call(value)
        if call is None:
            return jsonrpc.encode_invalid_request()
        if refusal := self._table.scope.find_refusal(caller):
            outcome = Outcome(Fate.REFUSED, refusal)
        else:
            outcome = await self._run(call.method, call.params, caller, deadline)
        if call.is_notification:
            return None
        return _encode(call.method, lambda told: jsonrpc.encode_outcome(told, call.id), outcome)

    def _refuse(self, message: str, caller: Caller) -> str:
        return weerpc.encode_refusal(self._find_refusal(caller) or message, self._version)

    def _find_refusal(self, caller: Caller) -> str:
        """Return why nothing is looked at, "" when it is."""
        return self._table.scope.find_refusal(caller) if self._table else weerpc.NO_FUNCTIONS

    async def _run(self, name: str, data: Any, caller: Caller, deadline: float) -> Outcome:
        function = self._table.find(name, caller)
        if isinstance(function, Outcome):
            return function
        if asyncio.get_running_loop().time() >= deadline:
            return LATE
        return await _run_until(deadline, name, function, data, caller)


async def _run_until(deadline: float, name: str, function: Function, data: Any, caller: Caller) -> Outcome:
    limit = asyncio.timeout_at(deadline)
    try:
        async with limit:
            return read_outcome(await function(data, caller))
    except BridgeError as exc:
        return _read_error(exc)
    except BaseException as exc:
        if is_for_us(exc):
            raise
        if isinstance(exc, TimeoutError) and limit.expired():
            log.warning("function took too long", extra={"function": name})
            return LATE
        log.exception("function raised", extra={"function": name})
        return BROKEN


def _read_error(error: BridgeError) -> Outcome:
    facts: dict[str, Any] = {"code": error.code}
    if error.detail and error.detail_is_public:
        facts["detail"] = error.detail
    if error.retry_after_s is not None:
        facts["retry_after_s"] = error.retry_after_s
    return Outcome(Fate.FAILED, error.fault.title, facts)


def _encode(name: str, encode: Callable[[Outcome], str], outcome: Outcome) -> str:
    try:
        return encode(outcome)
    except (TypeError, ValueError, RecursionError):
        log.exception("function returned what is no JSON", extra={"function": name})
        return encode(BROKEN)
