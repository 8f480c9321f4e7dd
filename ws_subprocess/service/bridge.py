"""Between one client and one session: messages in, messages out, whatever carries them.

Laws: nothing here waits or knows a transport: `receive` takes a message, `next_message` gives the next one or None;
resize, signal and ping overtake queued input; output, then exit, then close.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from ws_subprocess.dialects.codec import Dialect, Message, count_cut_bytes
from ws_subprocess.dialects.events import (
    SIGNAL_NAMES,
    Ack,
    Eof,
    Error,
    Exit,
    Hello,
    Input,
    Invalid,
    Ping,
    Pong,
    Resize,
    ServerEvent,
    Signal,
)
from ws_subprocess.errors import FAULTS, Fault
from ws_subprocess.model import STDOUT, Right
from ws_subprocess.sessions.replay import Gap
from ws_subprocess.sessions.session import Session
from ws_subprocess.telemetry import Metrics

FRAME_BYTES = 64 * 1024
ERRORS_MAX = 100
_REPLIES_MAX = 256
_CUT_CHARACTER_WAIT_S = 0.02
# How long a client may acknowledge nothing once all is over but its reading.
_LEAVE_WAIT_S = 30.0


@dataclass(frozen=True, slots=True)
class Close:
    """How a websocket is to be closed: RFC 6455 code, and a reason of at most 123 bytes."""

    code: int
    reason: str


class Bridge:
    """One client's conversation with its session.

    Args:
        wake: Called when `next_message` may have something new, or input may go on.

    Attributes:
        close: None while the conversation goes on; then how to close, once `next_message` gives None.
    """

    __slots__ = (
        "_announced",
        "_attachment",
        "_cut",
        "_cut_timer",
        "_dialect",
        "_errors",
        "_exit_sent",
        "_leave_timer",
        "_metrics",
        "_replies",
        "_session",
        "_wake",
        "close",
    )

    def __init__(self, session: Session, dialect: Dialect, metrics: Metrics, wake: Callable[[], None]) -> None:
        self._session = session
        self._dialect = dialect
        self._metrics = metrics
        self._wake = wake
        self._attachment = session.attach(wake, self._announce, dialect.has_acks)
        self._replies: list[ServerEvent] = []
        self._errors = 0
        self._announced = ""
        self._cut = b""
        self._cut_timer: asyncio.TimerHandle | None = None
        self._leave_timer: asyncio.TimerHandle | None = None
        self._exit_sent = False
        self.close: Close | None = None
        grant = session.grant
        role = "owner" if Right.WRITE in grant.rights else "viewer"
        self._replies.append(Hello(session.id, self._attachment.offset, session.size, grant.tty, role, grant.title))

    @property
    def is_input_full(self) -> bool:
        """Whether the client should be kept from sending for now."""
        return self._attachment.is_input_full

    def receive(self, message: Message) -> None:
        """Do what a client's message asks for."""
        event = self._dialect.decode(message)
        match event:
            case Input(data):
                self._type(data)
            case Ack(offset):
                self._acknowledge(offset)
            case Resize(size):
                self._session.resize(size)
            case Signal(name):
                self._signal(name)
            case Eof():
                if self._may_type():
                    self._session.end_input()
            case Ping(id):
                self._reply(Pong(id))
            case Pong():
                return
            case Invalid(code, text):
                self._complain(code, text)
            case _:
                assert_never(event)

    def next_message(self) -> Message | None:
        """Return the next message for the client, None when there is nothing to say now."""
        while self._replies:
            message = self._dialect.encode(self._replies.pop(0))
            if message is not None:
                return message
        if self.close is not None:
            return None
        found = self._attachment.read(FRAME_BYTES)
        if found is None:
            return self._conclude()
        if isinstance(found, Gap):
            lost = f"{found.missing} bytes of output before offset {found.resume_offset} were lost"
            self._reply(Error("output_lost", lost))
            return self.next_message()
        if self._dialect.cuts_characters:
            return self._dialect.encode_output(found.stream, found.data)
        return self._join_characters(found.stream, found.data)

    def build_silence(self) -> Message:
        """Return a message that carries no output, to see whether the client still takes any."""
        return self._dialect.encode_output(STDOUT, b"")

    def detach(self) -> None:
        """Leave the session."""
        self._attachment.detach()
        self._stop_cut_timer()
        self._stop_leave_timer()

    def _announce(self, code: str) -> None:
        self._announced = code
        self._reply(Error(code, FAULTS[code].title))
        self._wake()

    def _type(self, data: bytes) -> None:
        if not data or not self._may_type():
            return
        if self._session.truncates(data):
            self._warn(
                "line_truncated_risk",
                "a line of more than 4095 bytes was typed; the terminal keeps the first 4095 of it",
            )
        self._attachment.write(data)

    def _may_type(self) -> bool:
        if Right.WRITE in self._session.grant.rights:
            return True
        self._warn("read_only", "input was not used")
        return False

    def _signal(self, name: str) -> None:
        right = Right.KILL if name == "KILL" else Right.SIGNAL
        if right not in self._session.grant.rights:
            self._warn("right_missing", f"{name} was not sent: the grant's rights lack {right}")
            return
        if not self._session.is_running:
            self._warn("not_running", f"{name} was not sent: the command has ended")
            return
        if not self._session.signal(SIGNAL_NAMES[name]):
            self._warn("signal_denied", f"{name} was not sent: the command runs as another user")

    def _acknowledge(self, offset: int) -> None:
        if self._attachment.acknowledge(offset):
            self._stop_leave_timer()
        else:
            limits = f"{self._attachment.acknowledged}..{self._attachment.offset}"
            self._complain("bad_ack", f"offset: {offset} is not in {limits}")

    def _warn(self, code: str, text: str) -> None:
        """Tell the client that what a person did had no effect, however often, as far as it takes the news."""
        self._metrics.client_errors.labels(code).inc()
        if len(self._replies) < _REPLIES_MAX:
            self._reply(Error(code, text))

    def _complain(self, code: str, text: str) -> None:
        """Tell the client that it broke the protocol; one that goes on and on is sent away."""
        self._metrics.client_errors.labels(code).inc()
        self._errors += 1
        if self._errors > ERRORS_MAX:
            self._shut(FAULTS["too_many_errors"])
        else:
            self._reply(Error(code, text))

    def _reply(self, event: ServerEvent) -> None:
        if len(self._replies) >= _REPLIES_MAX:
            self._shut(FAULTS["too_many_errors"])
        elif self.close is None:
            self._replies.append(event)

    def _shut(self, fault: Fault) -> None:
        self.close = self.close or Close(fault.close_code, fault.title)

    def _conclude(self) -> Message | None:
        """At the live end: what was held back, then the exit, then close; else nothing."""
        ended = self._attachment.ended
        if self._cut and (ended is not None or self._cut_timer is None):
            return self._release_cut()
        if ended is None:
            if self._session.finished.done():
                self._take_leave()
            return None
        code = self._session.reason
        if ended.status.is_unknown and code not in FAULTS:
            code = "internal_error"
        fault = FAULTS.get(code)
        if not self._exit_sent:
            self._exit_sent = True
            if fault is not None and code != self._announced:
                self._replies.append(Error(code, fault.title))
            if not ended.status.is_unknown:
                self._replies.append(Exit(ended.status, ended.duration_s, ended.bytes))
            return self.next_message()
        self.close = Close(fault.close_code, fault.title) if fault is not None else Close(1000, "")
        return None

    def _take_leave(self) -> None:
        """All is over, but the exit cannot be told: it was never known, or the client has to acknowledge first."""
        if self._session.ended is None:
            self._shut(FAULTS.get(self._session.reason, FAULTS["internal_error"]))
        elif self._leave_timer is None:
            self._leave_timer = asyncio.get_running_loop().call_later(_LEAVE_WAIT_S, self._give_up_client)

    def _give_up_client(self) -> None:
        self._shut(FAULTS.get(self._session.reason, FAULTS["output_lost"]))
        self._wake()

    def _stop_leave_timer(self) -> None:
        if self._leave_timer is not None:
            self._leave_timer.cancel()
            self._leave_timer = None

    def _join_characters(self, stream: int, data: bytes) -> Message | None:
        """Hold back a character that the read has cut, for a short while: some clients decode every message alone."""
        self._stop_cut_timer()
        data = self._cut + data
        count = count_cut_bytes(data)
        self._cut = data[len(data) - count :]
        if count:
            self._cut_timer = asyncio.get_running_loop().call_later(_CUT_CHARACTER_WAIT_S, self._give_up_waiting)
        whole = data[: len(data) - count]
        return self._dialect.encode_output(stream, whole) if whole else self.next_message()

    def _give_up_waiting(self) -> None:
        self._cut_timer = None
        self._wake()

    def _release_cut(self) -> Message:
        self._stop_cut_timer()
        cut, self._cut = self._cut, b""
        return self._dialect.encode_output(STDOUT, cut)

    def _stop_cut_timer(self) -> None:
        if self._cut_timer is not None:
            self._cut_timer.cancel()
            self._cut_timer = None
