"""A child that does what a test tells it to, so that a session's decisions can be seen one by one."""

import asyncio
from collections.abc import Callable

from ws_subprocess.model import STDOUT, ExitStatus, Grant, SessionId, Size
from ws_subprocess.sessions.attachment import Attachment, SessionLimits
from ws_subprocess.sessions.session import Session

KILLED = ExitStatus(None, 9)


class FakeChild:
    """Implements `sessions.session.Child`.

    Attributes:
        calls: What the session asked for, with the loop's time, oldest first.
        tree: Pids that live besides the command; each signal in `deadly` ends them all, KILL always does.
    """

    def __init__(self) -> None:
        self.pid = 4711
        self.calls: list[tuple[float, str]] = []
        self.events: Session | None = None
        self.is_paused = False
        self.is_closed = False
        self.is_alive = True
        self.tree: set[int] = set()
        self.deadly: set[int] = set()
        self.unkillable: set[int] = set()
        self.room = True
        self.written = b""

    # What a test lets it do.

    def say(self, data: bytes, stream: int = STDOUT) -> None:
        assert self.events is not None
        assert not self.is_paused, "a paused child is not read"
        self.events.on_output(stream, memoryview(data))

    def end_output(self) -> None:
        assert self.events is not None
        self.events.on_output_end()

    def exit(self, status: ExitStatus = ExitStatus(0, None)) -> None:  # noqa: B008 - frozen
        assert self.events is not None
        self.is_alive = False
        self.events.on_exit(status)

    def names(self) -> list[str]:
        return [name for _, name in self.calls]

    def when(self, name: str) -> float:
        return next(at for at, called in self.calls if called == name)

    # What a session may ask.

    def start(self, events: Session) -> None:
        self._note("start")
        self.events = events

    def pause_output(self) -> None:
        self.is_paused = True
        self._note("pause")

    def resume_output(self) -> None:
        self.is_paused = False
        self._note("resume")

    def write(self, data: bytes) -> bool:
        self.written += data
        return self.room

    def truncates(self, data: bytes) -> bool:
        return b"too long" in data

    def end_input(self) -> None:
        self._note("eof")

    def resize(self, size: Size) -> None:
        self._note(f"resize {size.rows}x{size.cols}")

    def signal(self, number: int) -> bool:
        self._note(f"signal {number}")
        return self.pid not in self.unkillable

    def hang_up(self) -> None:
        self._note("hang up")
        self._die_of(1)

    def has_survivors(self) -> bool:
        return bool(self.tree)

    def signal_tree(self, number: int) -> None:
        self._note(f"tree {number}")
        self._die_of(number)

    def kill_tree(self) -> list[int]:
        self._note("kill")
        killed = sorted(self.tree | ({self.pid} if self.is_alive else set()))
        self.tree &= self.unkillable
        if self.is_alive and self.pid not in self.unkillable:
            self._end_soon(KILLED)
        return killed

    def close(self) -> None:
        assert not self.is_closed, "closed once"
        self.is_closed = True
        self._note("close")

    def _die_of(self, number: int) -> None:
        if number in self.deadly:
            self.tree &= self.unkillable
            if self.is_alive:
                self._end_soon(ExitStatus(None, number))

    def _end_soon(self, status: ExitStatus) -> None:
        """End as processes do: the news come later, through the loop."""
        self.is_alive = False
        loop = asyncio.get_running_loop()
        if self.events is not None:
            loop.call_soon(self.events.on_exit, status)
            if not self.unkillable:
                loop.call_soon(self.events.on_output_end)

    def _note(self, name: str) -> None:
        self.calls.append((asyncio.get_running_loop().time(), name))


def build_session(
    child: FakeChild,
    limits: SessionLimits = SessionLimits(),  # noqa: B008 - frozen
    grant: Grant = Grant(command="/bin/true"),  # noqa: B008 - frozen
    on_echo: Callable[[float], None] = lambda _: None,
) -> Session:
    """Return a session of `child`, not started."""
    return Session(SessionId(f"{id(child):032x}"), grant, grant.size, child, limits, on_echo)


def attach(session: Session, *, has_acks: bool = False, wake: Callable[[], None] = lambda: None) -> Attachment:
    """Return a cursor whose owner does nothing by itself."""
    return session.attach(wake, lambda _: None, has_acks)
