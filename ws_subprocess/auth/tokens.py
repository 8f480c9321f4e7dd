"""The authority of static tokens: known at once, without a controller, any number of times.

Laws: the file counts as it is now, so that who takes an entry out has revoked its token; while the file cannot be read
or is wrong nobody is let in, for nobody knows whom it would have refused; a client is told `denied`, whatever the
reason. Tokens are found by their hash: how long that takes tells nothing about a token that nobody knows.
"""

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from ws_subprocess.auth.gate import EnvironmentRule
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.auth.proposals import build_grant
from ws_subprocess.auth.tokens_file import Reading, StaticToken, Version, read_tokens, version_of
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest

_RETRY_AFTER_S = 5
_CLOSE_TIMEOUT_S = 5.0

log = logging.getLogger(__name__)


class TokensFileError(ValueError):
    """The file of static tokens cannot be used; `problems` has what is wrong, each with its entry."""

    def __init__(self, path: str, problems: tuple[str, ...]) -> None:
        self.path = path
        self.problems = problems
        super().__init__("\n".join(f"{path}: {text}" for text in problems))


class StaticTokens:
    """Knows the tokens of one file.

    Args:
        path: Read now, and again whenever it has changed.
        is_env_refused: Names that an entry may not set.
        clock: Unix time.

    Raises:
        TokensFileError: The file cannot be used now.
    """

    def __init__(self, path: str, is_env_refused: EnvironmentRule, clock: Callable[[], float] = time.time) -> None:
        self._path = os.path.abspath(path)
        self._is_env_refused = is_env_refused
        self._clock = clock
        self._reading = self._read()
        if self._reading.problems:
            raise TokensFileError(path, self._reading.problems)
        # Starts its thread with the first change of the file.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tokens-file")
        self._pending: asyncio.Future[Reading] | None = None

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant | None:
        """Return what the token's entry grants at this door; None when the token has no entry.

        Raises:
            GateError: `denied` (`reason` tells why), or `gate_unavailable` while the file is broken.
            RequestError: The proposal is allowed, and cannot be used.
        """
        tokens = await self._find_tokens()
        token = tokens.get(credentials.token_hash)
        if token is None:
            return None
        self._check_entry(token, request)
        try:
            return build_grant(token.fields, token.allow, request, self._is_env_refused)
        except GateError as exc:
            raise GateError("denied", f"token {token.name!a}: {exc.detail}", reason=exc.reason) from exc

    async def close(self) -> None:
        """End the thread that reads the file, after what it is reading just now."""
        if self._pending is not None:
            await asyncio.wait([self._pending], timeout=_CLOSE_TIMEOUT_S)
        self._worker.shutdown(wait=False, cancel_futures=True)

    def _check_entry(self, token: StaticToken, request: LaunchRequest) -> None:
        if request.door not in token.doors:
            detail = f"token {token.name!a}: not for the door {request.door}"
            raise GateError("denied", detail, reason="token_door")
        if token.expires_at is not None and self._clock() >= token.expires_at:
            raise GateError("denied", f"token {token.name!a}: expired", reason="token_expired")

    async def _find_tokens(self) -> Mapping[bytes, StaticToken]:
        if self._pending is not None:
            # It may have begun before the file was changed for the last time.
            await asyncio.shield(self._pending)
        if not self._reading.is_settled or self._reading.version != self._stat_version():
            await self._read_anew()
        if self._reading.problems:
            raise GateError("gate_unavailable", f"{self._path}: {self._reading.problems[0]}", _RETRY_AFTER_S)
        return self._reading.tokens

    def _stat_version(self) -> Version | None:
        try:
            return version_of(os.stat(self._path))
        except OSError:
            # Reading it will say what is wrong.
            return None

    async def _read_anew(self) -> None:
        """Read the file once for all who wait, in a thread: a large one takes longer than a keystroke may."""
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.run_in_executor(self._worker, self._read)
            self._pending.add_done_callback(self._take)
        # Who leaves meanwhile does not stop it for the others.
        await asyncio.shield(self._pending)

    def _read(self) -> Reading:
        return read_tokens(self._path, self._is_env_refused, self._clock)

    def _take(self, pending: asyncio.Future[Reading]) -> None:
        self._pending = None
        if pending.cancelled() or pending.exception() is not None:
            return  # Those who wait hear of it.
        before, self._reading = self._reading, pending.result()
        if before.version == self._reading.version:
            return
        if self._reading.problems:
            facts = {"path": self._path, "detail": "; ".join(self._reading.problems)}
            log.warning("static tokens cannot be used, everybody is refused", extra=facts)
        else:
            log.info("static tokens read anew", extra={"path": self._path, "tokens": len(self._reading.tokens)})
