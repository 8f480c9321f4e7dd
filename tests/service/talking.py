"""A bridge with a client that takes whatever there is, and a child that does what it is told."""

import json
from typing import Any

from fake_child import FakeChild, build_session

from ws_subprocess.dialects.codec import Dialect, Message
from ws_subprocess.dialects.native import NativeDialect
from ws_subprocess.dialects.raw import RawDialect
from ws_subprocess.model import TO_WATCH, Grant
from ws_subprocess.service.bridge import Bridge
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.session import Session
from ws_subprocess.telemetry import Metrics

LIMITS = SessionLimits(ring_bytes=2000, window_bytes=1000)
READ_ONLY = Grant(command="/bin/true", rights=TO_WATCH)


class Talk:
    """A bridge with a client that takes whatever there is, and a child that does what it is told."""

    def __init__(self, dialect: Dialect, grant: Grant = Grant(command="/bin/true", title="true")) -> None:  # noqa: B008
        self.child = FakeChild()
        self.session: Session = build_session(self.child, LIMITS, grant)
        self.metrics = Metrics()
        self.woken = 0
        self.bridge = Bridge(self.session, dialect, self.metrics, self._wake)
        self.session.start()

    def take(self) -> list[Message]:
        """Return all there is to say now."""
        found: list[Message] = []
        while (message := self.bridge.next_message()) is not None:
            found.append(message)
        return found

    def take_json(self) -> list[dict[str, Any]]:
        return [json.loads(message) for message in self.take() if isinstance(message, str)]

    def say(self, **message: Any) -> None:
        self.bridge.receive(json.dumps(message))

    def count(self, code: str) -> float:
        return self.metrics.client_errors.labels(code)._value.get()

    def end(self) -> None:
        self.bridge.detach()
        self.session.kill_now("")

    def _wake(self) -> None:
        self.woken += 1


def native(tty: bool = True, **grant: Any) -> Talk:
    talk = Talk(NativeDialect(tty), Grant(command="/bin/true", title="true", tty=tty, **grant))
    assert talk.take_json()[0]["type"] == "hello"
    return talk


def raw(**grant: Any) -> Talk:
    return Talk(RawDialect(), Grant(command="/bin/true", **grant))
