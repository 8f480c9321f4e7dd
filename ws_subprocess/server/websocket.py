"""One websocket connection: bytes of the socket to messages and back, with every limit that keeps a bad peer harmless.

The parser is the sans-I/O core of the `websockets` package. What the application sees is in `websocket_app`.

Laws:
    A message is handed over by the callback that read its last byte and written by the call that sends it: no queue.
    After Close was sent, what the peer still sends is read and discarded until its own Close (see `linger` for why).
    However the connection ends, the application hears of it exactly once.
"""

import asyncio
import functools
import logging
from collections.abc import Callable

from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ws_subprocess.rate import TokenBucket
from ws_subprocess.server.frames import MAX_FRAGMENTS, Assembler, TooManyFragmentsError, encode
from ws_subprocess.server.linger import linger
from ws_subprocess.server.liveness import HangupWatch, Keepalive, Pulse
from ws_subprocess.server.settings import LINGER_S, WRITE_ABORT_BYTES, WRITE_HIGH_WATER_BYTES, ServerSettings
from ws_subprocess.server.websocket_roles import Listener, Phase

log = logging.getLogger(__name__)

CONTROL_FRAMES_PER_S = 10
CONTROL_FRAMES_BURST = 50

# What one parser step may get at once: the limits are looked at in between, so a read of 256 KiB made of empty frames
# (6 bytes each) cannot keep the loop for long.
_SLICE_BYTES = 8 * 1024
# How long slices are parsed before other connections get a turn.
_TURN_S = 0.005
# Bytes that arrive before the application answered the handshake.
_EARLY_BYTES = 64 * 1024


class WebSocketConnection(asyncio.Protocol):
    """The protocol that takes over a transport once its HTTP request asked for a websocket.

    `start`, `send`, `pause` and `resume` are also the application's direct channel (`upgrade.DIRECT_EXTENSION`).
    """

    def __init__(self, transport: asyncio.Transport, parser: ServerProtocol, settings: ServerSettings) -> None:
        self._transport = transport
        self._parser = parser
        self._settings = settings
        self._loop = asyncio.get_running_loop()
        self._listener: Listener
        self._on_message: Callable[[bytes | str], None]
        self._on_writable: Callable[[], None]

        self.phase = Phase.HANDSHAKE
        self._disconnect_told = False
        # Bytes that were read but not parsed yet.
        self._backlog = bytearray()
        self._is_held = False
        self._is_reading = True
        self._assembler = Assembler()
        self._controls = TokenBucket(CONTROL_FRAMES_PER_S, CONTROL_FRAMES_BURST)

        self._is_writable = True
        self._owes_writable = False
        self._pulse = Pulse()

        self._keepalive: Keepalive | None = None
        self._deadline: asyncio.TimerHandle | None = None
        self._hangup: HangupWatch | None = None
        transport.set_write_buffer_limits(WRITE_HIGH_WATER_BYTES)

    # The direct channel.

    def start(self, on_message: Callable[[bytes | str], None], on_writable: Callable[[], None]) -> None:
        """Hand messages to `on_message` from now on, in the very callback that read them; first those that wait.

        An error that leaves one of the two is logged and closes the connection with 1011.
        """
        self._on_message = on_message
        self._on_writable = on_writable
        self._is_held = False
        for message in self._listener.take_messages():
            self._deliver(message)
        if not self._is_held:
            self.resume()

    def send(self, message: bytes | bytearray | memoryview | str) -> bool:
        """Write one message, text for `str`; nothing happens once the connection is closing.

        Returns:
            False when more waits than should; `on_writable` is called once when it has drained. A closing connection
            is never full: a loop that sends must have an end of its own.
        """
        if self.phase is not Phase.OPEN or self._transport.is_closing() or self._is_jammed():
            return True
        if isinstance(message, str):
            self._send(Opcode.TEXT, message.encode())
        else:
            self._send(Opcode.BINARY, message)
        if self._is_writable:
            return True
        self._owes_writable = True
        return False

    def pause(self) -> None:
        """Stop reading from the socket. What one read had brought already may still come. Idempotent."""
        self._is_held = True
        self._update_reading()

    def resume(self) -> None:
        """Read on. Idempotent."""
        self._is_held = False
        if self._backlog:
            self._loop.call_soon(self._parse_backlog)
        else:
            self._update_reading()

    # What the application's side uses.

    def serve(self, listener: Listener, early: bytes) -> None:
        """Tell `listener` what happens; `early` came behind the request in the same read."""
        self._listener = listener
        self._on_message = listener.on_message
        self._on_writable = listener.on_writable
        self._transport.set_protocol(self)
        self._transport.resume_reading()
        if early:
            self.data_received(early)

    def accept(self, response: Response) -> None:
        """Answer the handshake with `response`, status 101."""
        self.phase = Phase.OPEN
        self._write(response.serialize())
        self._keepalive = Keepalive(
            interval_s=self._settings.ping_interval_s,
            timeout_s=self._settings.ping_timeout_s,
            ping=self._ping,
            is_alive=self._is_alive,
            on_dead=functools.partial(self._fail, CloseCode.INTERNAL_ERROR, "keepalive ping timeout"),
        )
        if self._backlog:
            self._loop.call_soon(self._parse_backlog)

    def deny(self, response: Response) -> None:
        """Answer the handshake with `response`, any other status, and end."""
        self._write(response.serialize())
        self._end()

    def close(self, code: int, reason: str = "") -> None:
        """Send Close and give the peer its time to answer; nothing happens unless the connection is open."""
        if self.phase is not Phase.OPEN:
            return
        self._parser.send_close(code, reason)
        self._flush()
        self.phase = Phase.CLOSING
        self._stop_watching()
        self._wait_for_close()
        self._tell_disconnect(code, reason)
        # Reading goes on whatever the application wished: the peer's Close has to be seen.
        self.resume()

    def abort(self) -> None:
        """Cut the connection."""
        self.phase = Phase.ENDED
        self._transport.abort()

    # asyncio.Protocol.

    def data_received(self, data: bytes) -> None:
        self._pulse.was_heard = True
        if self._backlog or self._is_held or len(data) > _SLICE_BYTES or self.phase is Phase.HANDSHAKE:
            self._backlog += data
            self._parse_backlog()
        else:
            self._parse(data)

    def eof_received(self) -> None:
        # The transport flushes and closes itself; a peer that takes nothing cannot hold it for ever.
        self._tell_disconnect(CloseCode.ABNORMAL_CLOSURE, "")
        self.phase = Phase.ENDED
        self._stop_watching()
        self._deadline = self._loop.call_later(LINGER_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        self.phase = Phase.ENDED
        self._tell_disconnect(CloseCode.ABNORMAL_CLOSURE, "")
        self._stop_watching()
        # The application's callbacks know this connection: without the way back, memory comes back at once.
        self._on_message, self._on_writable = self._listener.on_message, self._listener.on_writable
        self._listener.on_lost()

    def pause_writing(self) -> None:
        self._is_writable = False

    def resume_writing(self) -> None:
        self._is_writable = True
        if self._owes_writable and self.phase is Phase.OPEN:
            self._owes_writable = False
            try:
                self._on_writable()
            except Exception:  # noqa: BLE001 - as in _deliver
                self._on_application_error()

    # Reading.

    def _parse_backlog(self) -> None:
        """Parse slices until the application wants no more or it is somebody else's turn."""
        turn_ends_s = self._loop.time() + _TURN_S
        while self._backlog and self.phase is not Phase.ENDED:
            if self.phase is Phase.HANDSHAKE or (self._is_held and self.phase is Phase.OPEN):
                break
            if self._loop.time() > turn_ends_s:
                self._loop.call_soon(self._parse_backlog)
                break
            piece = self._backlog[:_SLICE_BYTES]
            del self._backlog[:_SLICE_BYTES]
            self._parse(piece)
        self._update_reading()

    def _parse(self, data: bytes | bytearray) -> None:
        parser = self._parser
        parser.receive_data(data)
        for frame in parser.events_received():
            if self.phase is Phase.ENDED:
                return
            assert isinstance(frame, Frame)
            opcode = frame.opcode
            if opcode is Opcode.PING or opcode is Opcode.PONG:
                self._on_control()
            elif opcode is Opcode.CLOSE:
                self._on_close()
            elif self.phase is not Phase.OPEN:
                continue
            elif frame.fin and opcode is Opcode.BINARY:
                self._deliver(bytes(frame.data))
            else:
                self._on_fragment(frame)
        if parser.parser_exc is not None and self.phase is not Phase.ENDED:
            self._on_bad_frame()

    def _deliver(self, message: bytes | str) -> None:
        try:
            self._on_message(message)
        except Exception:  # noqa: BLE001 - the top of a connection: one session's bug must not end the others
            self._on_application_error()

    def _on_fragment(self, frame: Frame) -> None:
        """Take text, which has to be decoded, or a part of a message."""
        try:
            message = self._assembler.add(frame)
        except TooManyFragmentsError:
            self._fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_FRAGMENTS} fragments")
        except UnicodeDecodeError as exc:
            self._fail(CloseCode.INVALID_DATA, f"{exc.reason} at position {exc.start}")
        else:
            if message is not None:
                self._deliver(message)

    def _on_control(self) -> None:
        """Let the parser's answer out, unless this peer asks too often."""
        if not self._controls.allows(self._loop.time()):
            self._fail(CloseCode.POLICY_VIOLATION, "Too many pings")
        elif not self._is_jammed():
            self._flush()

    def _on_close(self) -> None:
        """The peer's Close: an answer to ours, or its wish, which the parser has answered."""
        received = self._parser.close_rcvd
        assert received is not None
        self._flush()
        self._tell_disconnect(received.code, received.reason)
        self._end()

    def _on_bad_frame(self) -> None:
        """The parser has failed the connection and written the Close that says why."""
        sent = self._parser.close_sent
        self._flush()
        if sent is not None:
            self._tell_disconnect(sent.code, sent.reason)
        self._end()

    def _update_reading(self) -> None:
        if self.phase is Phase.HANDSHAKE:
            wants_reading = len(self._backlog) <= _EARLY_BYTES
        else:
            wants_reading = not self._backlog and not (self._is_held and self.phase is Phase.OPEN)
        if wants_reading == self._is_reading or self._transport.is_closing():
            return
        self._is_reading = wants_reading
        if wants_reading:
            self._transport.resume_reading()
        else:
            self._transport.pause_reading()
            if self._hangup is None:
                fd = self._transport.get_extra_info("socket").fileno()
                self._hangup = HangupWatch(fd, is_deaf=self._is_deaf, on_hangup=self.abort)
            self._hangup.start()

    def _is_deaf(self) -> bool:
        """Tell whether reading is stopped until somebody else acts (not just until the next turn)."""
        return not self._is_reading and (self._is_held or self.phase is Phase.HANDSHAKE)

    # Writing.

    def _send(self, opcode: Opcode, payload: bytes | bytearray | memoryview) -> None:
        extensions = self._parser.extensions
        if extensions:
            # Not by the parser: it reads ahead, and may know of a Close behind the message that is answered here.
            self._write(Frame(opcode, payload).serialize(mask=False, extensions=extensions))
        else:
            self._write(encode(opcode, payload))

    def _is_jammed(self) -> bool:
        """Tell whether so much waits already that whoever makes us write is out of order; cut the connection if so."""
        if self._is_writable or self._transport.get_write_buffer_size() <= WRITE_ABORT_BYTES:
            return False
        log.warning("connection cut: its peer takes nothing", extra={"limit_bytes": WRITE_ABORT_BYTES})
        self.abort()
        return True

    def _write(self, data: bytes) -> None:
        self._pulse.written_bytes += len(data)
        self._transport.write(data)

    def _flush(self) -> None:
        """Write what the parser wants to say: pongs, Close."""
        data = b"".join(self._parser.data_to_send())
        if data and self.phase is not Phase.ENDED:
            self._write(data)

    # Life and death.

    def _ping(self) -> None:
        self._parser.send_ping(b"")
        self._flush()

    def _is_alive(self) -> bool:
        """Tell whether there was a sign of life since the last call, or nobody could have heard one."""
        felt = self._pulse.is_felt(self._transport.get_write_buffer_size())
        return felt or self._is_deaf()

    def _on_application_error(self) -> None:
        log.exception("application failed in a websocket callback")
        self.close(CloseCode.INTERNAL_ERROR, "Internal error")

    def _fail(self, code: int, reason: str) -> None:
        """End the connection because of what the peer did; it need not answer our Close."""
        if self._parser.state is OPEN:
            self._parser.fail(code, reason)
            self._flush()
        self._tell_disconnect(code, reason)
        self._end()

    def _end(self) -> None:
        """Nothing more is said or heard: bring the connection down in good order."""
        if self.phase is Phase.ENDED:
            return
        self.phase = Phase.ENDED
        self._tell_disconnect(CloseCode.ABNORMAL_CLOSURE, "")
        self._stop_watching()
        self._backlog.clear()
        linger(self._transport, self, LINGER_S)

    def _wait_for_close(self) -> None:
        """Bound the wait for the peer's Close, but let a slow peer that halves what waits each time have the rest."""
        waiting_bytes = self._transport.get_write_buffer_size()

        def check() -> None:
            left_bytes = self._transport.get_write_buffer_size()
            if 0 < left_bytes <= waiting_bytes // 2:
                self._wait_for_close()
            elif left_bytes:
                self.abort()
            else:
                self._end()

        self._deadline = self._loop.call_later(self._settings.close_timeout_s, check)

    def _stop_watching(self) -> None:
        if self._keepalive is not None:
            self._keepalive.stop()
            self._keepalive = None
        if self._hangup is not None:
            self._hangup.stop()
            self._hangup = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _tell_disconnect(self, code: int, reason: str) -> None:
        if not self._disconnect_told:
            self._disconnect_told = True
            self._listener.on_disconnect(code, reason)
