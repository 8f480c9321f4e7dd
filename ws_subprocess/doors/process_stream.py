"""One command's conversation over HTTP: its input from the request's body, its output as the answer's.

Laws: output is taken from a lossless cursor and only as fast as the client takes it, input from the client only as fast
as the command reads; neither hides that the client has left.
"""

import asyncio
import logging
from contextlib import AsyncExitStack
from typing import Protocol

from starlette.types import Message, Receive, Scope, Send

from ws_subprocess.doors.process_forms import (
    BASE_HEADERS,
    EXIT_CODE,
    EXIT_SIGNAL,
    list_trailers,
    write_end,
    write_output,
)
from ws_subprocess.doors.process_request import Form, ProcessRequest, Stderr
from ws_subprocess.errors import BridgeError
from ws_subprocess.model import STDOUT, Credentials, ExitStatus, LaunchRequest
from ws_subprocess.service.launch import Hold, Launcher
from ws_subprocess.sessions.attachment import Attachment
from ws_subprocess.sessions.replay import Gap, Output
from ws_subprocess.sessions.session import Session

PIECE_BYTES = 64 * 1024
# A little more than our own server's, which knows better how much was taken.
STALL_TIMEOUT_S = 90.0
_ANSWER_EXTENSION = "ws_subprocess.answer"
_TRAILERS_EXTENSION = "http.response.trailers"
# How often somebody looks whether a client has left whose input is not read just now.
_LOOK_S = 0.5

log = logging.getLogger(__name__)


class ClientLeftError(Exception):
    """The client went away before its command started."""


class Answer(Protocol):
    """What our server can do with an answer beyond ASGI; see `server.answers`."""

    def cut(self) -> None: ...
    def has_left(self) -> bool: ...


class ProcessStream:
    """Runs one command for one request. `run` once.

    Args:
        stall_timeout_s: How long a client may take nothing, before it is taken to have left.
    """

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        form: Form,
        asked: ProcessRequest,
        stall_timeout_s: float = STALL_TIMEOUT_S,
    ) -> None:
        extensions = scope.get("extensions") or {}
        self._answer: Answer | None = extensions.get(_ANSWER_EXTENSION, {}).get("answer")
        self._has_trailers = _TRAILERS_EXTENSION in extensions
        self._receive = receive
        self._send_on = send
        self._stall_timeout_s = stall_timeout_s
        self._form = form
        self._asked = asked
        self._launching: asyncio.Timeout | None = None
        self._session: Session | None = None
        self._attachment: Attachment | None = None
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._has_left = False
        self._is_cut = False

    async def run(self, launcher: Launcher, credentials: Credentials, wanted: LaunchRequest, hold: Hold) -> None:
        """Launch the command, stream until nothing of it is left, and end the answer.

        Raises:
            BridgeError: It was not started; nothing was answered.
            ClientLeftError: Neither, and nobody is there to be told.
        """
        async with asyncio.TaskGroup() as group:
            listener = group.create_task(self._listen())
            try:
                refusal = await self._converse(launcher, credentials, wanted, hold)
            finally:
                listener.cancel()
        if refusal is not None:
            raise refusal

    async def _converse(
        self, launcher: Launcher, credentials: Credentials, wanted: LaunchRequest, hold: Hold
    ) -> BridgeError | ClientLeftError | None:
        try:
            async with AsyncExitStack() as stack:
                session = await self._launch(stack, launcher, credentials, wanted, hold)
                await self._stream(session)
        except (BridgeError, ClientLeftError) as exc:
            return exc
        if not self._has_left:
            await self._end(session)
        return None

    async def _launch(
        self,
        stack: AsyncExitStack,
        launcher: Launcher,
        credentials: Credentials,
        wanted: LaunchRequest,
        hold: Hold,
    ) -> Session:
        try:
            # A timeout without a time: `_leave` moves it to now.
            async with asyncio.timeout(None) as self._launching:
                return await stack.enter_async_context(launcher.launch(credentials, wanted, hold))
        except TimeoutError as exc:
            if not self._has_left:
                raise  # Somebody else's, and an error.
            raise ClientLeftError from exc
        finally:
            self._launching = None

    async def _stream(self, session: Session) -> None:
        """Send all output; return with the whole tree killed, if there was anything left of it."""
        self._attachment = attachment = session.attach(self._wake, lambda code: None, has_acks=False)
        self._session = session
        if self._has_left:
            session.kill("client_gone")
        timer = self._start_timer(session)
        try:
            session.start()
            if self._asked.stdin is not None:
                attachment.write(self._asked.stdin)
                session.end_input()
            self._room.set()
            await self._send(self._build_start())
            while (piece := await self._next_piece(session, attachment)) is not None:
                await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        except OSError:
            # The client has gone while we were sending, or stopped reading.
            self._leave()
        finally:
            if timer is not None:
                timer.cancel()
            attachment.detach()
            session.kill("client_gone")

    async def _send(self, message: Message) -> None:
        """Send. Raises OSError when the client has gone, or takes nothing: not every server has an end of patience."""
        try:
            async with asyncio.timeout(self._stall_timeout_s):
                await self._send_on(message)
        except TimeoutError as exc:
            raise OSError(f"nothing taken within {self._stall_timeout_s:g} s") from exc

    async def _next_piece(self, session: Session, attachment: Attachment) -> bytes | None:
        """Wait for output and return it as it is to be sent, None when there will be no more."""
        while not self._has_left:
            self._news.clear()
            match attachment.read(PIECE_BYTES):
                case Output(stream=stream, data=data):
                    if stream == STDOUT or self._asked.stderr is not Stderr.DROP:
                        shown = STDOUT if self._asked.stderr is Stderr.MERGE else stream
                        return write_output(self._form, shown, data)
                case Gap():
                    # Once a session is being ended, output waits for nobody.
                    self._is_cut = True
                case None if attachment.ended is not None or session.finished.done():
                    return None
                case None:
                    await self._news.wait()
        return None

    async def _end(self, session: Session) -> None:
        """End the answer: cleanly if it is whole, or if its form can say what it lacks."""
        status = session.ended.status if session.ended is not None else ExitStatus(None, None)
        reason = session.reason or ("output_lost" if self._is_cut else "internal_error" if status.is_unknown else "")
        if reason and self._form is Form.RAW:
            if self._answer is not None:
                self._answer.cut()
            # Elsewhere, a server cuts an answer whose application returns before its end.
            return
        try:
            await self._send({"type": "http.response.body", "body": write_end(self._form, status, reason)})
            if self._has_trailers:
                trailers = [] if status.is_unknown else list_trailers(status)
                await self._send({"type": "http.response.trailers", "headers": trailers})
        except OSError:
            log.debug("client left", extra={"session": session.id})

    def _build_start(self) -> Message:
        headers = {"Content-Type": str(self._form), **BASE_HEADERS}
        if self._has_trailers:
            headers["Trailer"] = f"{EXIT_CODE}, {EXIT_SIGNAL}"
        raw = [(name.lower().encode("ascii"), value.encode("ascii")) for name, value in headers.items()]
        return {"type": "http.response.start", "status": 200, "headers": raw, "trailers": self._has_trailers}

    def _start_timer(self, session: Session) -> asyncio.TimerHandle | None:
        def end() -> None:
            # What has exited was in time, though something it left behind may live on for a moment.
            if session.is_running:
                session.kill("timed_out")

        timeout_s = self._asked.timeout_s
        return None if timeout_s is None else asyncio.get_running_loop().call_later(timeout_s, end)

    # The client's side.

    async def _listen(self) -> None:
        """Pass the body on, and see when the client leaves."""
        while not self._has_left:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._leave()
            elif self._asked.stdin is None:
                await self._feed(message)

    async def _feed(self, message: Message) -> None:
        """Give a piece of the body to the command; wait until it may have more."""
        if not await self._may_feed() or self._attachment is None or self._session is None:
            return
        if (data := message.get("body", b"")) and not self._attachment.write(data):
            self._room.clear()
        if not message.get("more_body", False):
            self._session.end_input()

    async def _may_feed(self) -> bool:
        """Wait for room for input; False when the client leaves meanwhile."""
        while not self._has_left:
            try:
                async with asyncio.timeout(_LOOK_S):
                    await self._room.wait()
                return True
            except TimeoutError:
                if self._answer is not None and self._answer.has_left():
                    self._leave()
        return False

    def _wake(self) -> None:
        self._news.set()
        if self._attachment is not None and not self._attachment.is_input_full:
            self._room.set()

    def _leave(self) -> None:
        self._has_left = True
        self._news.set()
        if self._launching is not None:
            self._launching.reschedule(0)
        if self._session is not None:
            self._session.kill("client_gone")
