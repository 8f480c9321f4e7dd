"""What can be said between a client and a session, whatever the dialect. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from ws_subprocess.model import ExitStatus, SessionId, Size


@dataclass(frozen=True, slots=True)
class Input:
    """Bytes for the child's stdin."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Resize:
    """The client's window has this size now."""

    size: Size


@dataclass(frozen=True, slots=True)
class Signal:
    """A signal's name without SIG, one of `SIGNAL_NAMES`."""

    name: str


@dataclass(frozen=True, slots=True)
class Eof:
    """No more input."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The client has dealt with all output before `offset`."""

    offset: int


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a pong with the same id."""

    id: int | None


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers a ping."""

    id: int | None


@dataclass(frozen=True, slots=True)
class Invalid:
    """A message that has no effect; `code` is a key of `errors.FAULTS`."""

    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Hello:
    """First word to a client: what it is attached to. Output starts at `offset`."""

    session: SessionId
    offset: int
    size: Size
    tty: bool
    role: str
    title: str


@dataclass(frozen=True, slots=True)
class Exit:
    """Last word to a client: how the command ended, after how long, and the final offset."""

    status: ExitStatus
    duration_s: float
    bytes: int


@dataclass(frozen=True, slots=True)
class Error:
    """Something had no effect, or why the session is about to end."""

    code: str
    message: str


ClientEvent = Input | Resize | Signal | Eof | Ack | Ping | Pong | Invalid
ServerEvent = Hello | Exit | Error | Pong

SIGNAL_NAMES: Mapping[str, int] = {
    "HUP": 1,
    "INT": 2,
    "QUIT": 3,
    "KILL": 9,
    "USR1": 10,
    "USR2": 12,
    "TERM": 15,
    "CONT": 18,
    "TSTP": 20,
    "WINCH": 28,
}
