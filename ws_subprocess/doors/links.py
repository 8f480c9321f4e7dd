"""Two ways to carry a bridge's messages over an ASGI websocket: by callbacks of our own server, else by its events.

Law: reading never waits for writing. The direct way has no task and no queue: input is written to the terminal by the
callback that parsed the frame, output is sent by the callback that read the terminal.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

from starlette.types import Scope, Send

from ws_subprocess.dialects.codec import Message
from ws_subprocess.service.bridge import Bridge

DIRECT_EXTENSION = "ws_subprocess.direct"
# How often a client whose input has to wait is tried: without reading from it only writing tells that it has left.
PROBE_S = 10.0


class DirectChannel(Protocol):
    """What our server offers under `DIRECT_EXTENSION`; see `server.websocket`."""

    def start(self, on_message: Callable[[Message], None], on_writable: Callable[[], None]) -> None:
        """Deliver messages to `on_message` from now on, those that have come already first."""

    def send(self, message: Message) -> bool:
        """Send at once; False when `on_writable` will tell that there is room again."""
        ...

    def pause(self) -> None:
        """Stop reading from the client."""

    def resume(self) -> None:
        """Read again."""


def find_channel(scope: Scope) -> DirectChannel | None:
    """Return the server's direct channel, None under any other server."""
    extension = (scope.get("extensions") or {}).get(DIRECT_EXTENSION)
    channel: DirectChannel | None = extension["channel"] if extension else None
    return channel


class DirectLink:
    """Carries messages by callbacks."""

    __slots__ = ("_bridge", "_channel", "_done", "_early", "_is_paused", "_is_pumping", "_is_writable")

    def __init__(self, channel: DirectChannel) -> None:
        self._channel = channel
        # A future, not an event: an event holds a deque, and every idle session would pay for it.
        self._done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._bridge: Bridge | None = None
        self._early: list[Message] = []
        self._is_writable = True
        self._is_paused = False
        self._is_pumping = False

    async def run(self, bridge: Bridge) -> None:
        """Carry messages until the bridge wants to close or `stop` is called."""
        self._bridge = bridge
        for message in self._early:
            bridge.receive(message)
        self._channel.start(self._on_message, self._on_writable)
        self.wake()
        await self._done

    async def take(self, message: Message) -> None:
        """Keep a message that came before `run`; all later ones come by the channel."""
        self._early.append(message)

    def wake(self) -> None:
        """Send what there is to say, as long as the client takes it."""
        bridge = self._bridge
        # Sending moves the cursor, which may wake us again: once is enough.
        if bridge is None or self._is_pumping:
            return
        self._is_pumping = True
        try:
            while self._is_writable and (message := bridge.next_message()) is not None:
                self._is_writable = self._channel.send(message)
        finally:
            self._is_pumping = False
        if bridge.is_input_full is not self._is_paused:
            self._is_paused = bridge.is_input_full
            (self._channel.pause if self._is_paused else self._channel.resume)()
        if bridge.close is not None and self._is_writable:
            self.stop()

    def stop(self) -> None:
        """End `run`: all is said, or the client has gone."""
        if not self._done.done():
            self._done.set_result(None)

    def _on_message(self, message: Message) -> None:
        if self._bridge is not None:
            self._bridge.receive(message)
            self.wake()

    def _on_writable(self) -> None:
        self._is_writable = True
        self.wake()


class QueuedLink:
    """Carries messages by ASGI events, for any other server."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._bridge: Bridge | None = None
        self._early: list[Message] = []
        self._awake = asyncio.Event()
        self._has_room = asyncio.Event()
        self._is_stopped = False

    async def run(self, bridge: Bridge) -> None:
        """Carry messages until the bridge wants to close or `stop` is called."""
        self._bridge = bridge
        for early in self._early:
            bridge.receive(early)
        while not self._is_stopped:
            self._awake.clear()
            while (message := bridge.next_message()) is not None and not self._is_stopped:
                await self._send(build_event(message))
            if bridge.close is not None:
                return
            await self._awake.wait()

    async def take(self, message: Message) -> None:
        """Hand a client's message to the bridge; return when the next may come."""
        bridge = self._bridge
        if bridge is None:
            self._early.append(message)
            return
        bridge.receive(message)
        self._awake.set()
        while bridge.is_input_full and not self._is_stopped:
            self._has_room.clear()
            try:
                async with asyncio.timeout(PROBE_S):
                    await self._has_room.wait()
            except TimeoutError:
                await self._probe(bridge)

    async def _probe(self, bridge: Bridge) -> None:
        try:
            await self._send(build_event(bridge.build_silence()))
        except OSError:
            self.stop()

    def wake(self) -> None:
        """Let `run` and `take` look again."""
        self._awake.set()
        self._has_room.set()

    def stop(self) -> None:
        """End `run`: the client has gone."""
        self._is_stopped = True
        self.wake()


def build_event(message: Message) -> dict[str, object]:
    """Return the ASGI event that sends a message."""
    return {"type": "websocket.send", "text" if isinstance(message, str) else "bytes": message}
