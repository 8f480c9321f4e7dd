"""A real server on a real socket, in a thread of its own; and clients that are as blunt as a test needs."""

import asyncio
import contextlib
import dataclasses
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import uvloop
from websockets.sync.client import ClientConnection, connect

from ws_subprocess.address import Tcp, Unix, parse_listen
from ws_subprocess.server.asgi import Application
from ws_subprocess.server.http_h11 import H11Connection
from ws_subprocess.server.http_httptools import HttpToolsConnection
from ws_subprocess.server.lifecycle import DrainingServer
from ws_subprocess.server.settings import ServerSettings

both_loops = pytest.mark.parametrize(
    "loop_factory", [uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"]
)
both_parsers = pytest.mark.parametrize("http_protocol", [HttpToolsConnection, H11Connection], ids=["httptools", "h11"])

LOOPBACK = Tcp("127.0.0.1", 0)
WAIT_S = 10.0
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


@dataclass
class NoSessions:
    """A lifecycle without sessions that remembers what it was asked."""

    calls: list[str] = field(default_factory=list)

    def begin_drain(self) -> None:
        self.calls.append("begin_drain")

    async def drained(self) -> None:
        self.calls.append("drained")

    async def end_sessions(self) -> None:
        self.calls.append("end_sessions")

    def kill_sessions(self) -> None:
        self.calls.append("kill_sessions")


@dataclass
class RunningServer:
    """A server that accepts connections."""

    server: DrainingServer
    loop: asyncio.AbstractEventLoop
    urls: list[str]
    thread: threading.Thread

    @property
    def address(self) -> tuple[str, int]:
        tcp = parse_listen(self.urls[0].partition("://")[2])
        assert isinstance(tcp, Tcp)
        return tcp.host, tcp.port

    def connect(self) -> socket.socket:
        """Return a connection whose reads fail after WAIT_S."""
        if self.urls[0].startswith("unix:"):
            address = parse_listen(self.urls[0])
            assert isinstance(address, Unix)
            sock = socket.socket(socket.AF_UNIX)
            sock.settimeout(WAIT_S)
            sock.connect(address.path)
            return sock
        return socket.create_connection(self.address, timeout=WAIT_S)

    def client(self, **options: Any) -> ClientConnection:
        """Return a real client; it pings by itself in no thread that might outlive it."""
        scheme = "wss" if "ssl" in options else "ws"
        host, port = self.address
        return connect(f"{scheme}://{host}:{port}", ping_interval=None, **options)

    def request(self, data: bytes) -> bytes:
        """Send `data` and return all that comes until the server ends the connection."""
        with self.connect() as sock:
            sock.sendall(data)
            return read_to_end(sock)

    def upgrade(self, path: str = "/", early: bytes = b"", extra: str = "") -> "RawWebSocket":
        """Return a websocket as bare as a socket; `early` is sent in the same packet as the handshake."""
        sock = self.connect()
        sock.sendall(handshake(path, extra) + early)
        head = read_head(sock)
        assert head.startswith(b"HTTP/1.1 101 "), head
        return RawWebSocket(sock, head)

    def stop(self) -> None:
        """What a SIGTERM does."""
        self.loop.call_soon_threadsafe(self.server.stop)


@contextlib.contextmanager
def run_server(
    application: Application,
    loop_factory: Callable[[], asyncio.AbstractEventLoop],
    http_protocol: type[asyncio.Protocol],
    lifecycle: Any = None,
    with_lifespan: bool = False,
    **changes: Any,
) -> Iterator[RunningServer]:
    """Serve until the block ends, then drain and see to it that the server's thread came to its end."""
    settings = dataclasses.replace(
        ServerSettings(addresses=(LOOPBACK,), drain_timeout_s=0.1, close_timeout_s=0.5), **changes
    )
    started = threading.Event()
    failures: list[BaseException] = []
    running: list[RunningServer] = []

    async def main() -> None:
        def on_ready(urls: list[str]) -> None:
            running.append(RunningServer(server, asyncio.get_running_loop(), urls, thread))
            started.set()

        served = application if with_lifespan else without_lifespan(application)
        server = DrainingServer(served, settings, lifecycle or NoSessions(), on_ready, http_protocol)
        try:
            await server.serve()
        finally:
            server.close_listeners()

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=loop_factory) as runner:
                runner.run(main())
        except BaseException as exc:  # noqa: BLE001 - raised again in the test's own thread
            failures.append(exc)
        finally:
            started.set()

    thread = threading.Thread(target=target)
    thread.start()
    assert started.wait(WAIT_S)
    try:
        if running:
            yield running[0]
    finally:
        if running and thread.is_alive():
            running[0].stop()
        thread.join(WAIT_S)
        assert not thread.is_alive(), "the server did not end"
    if failures:
        raise failures[0]


def without_lifespan(application: Application) -> Application:
    """Return an application that says at once that it does not care when the server starts and ends."""

    async def connections_only(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            # ASGI: who raises here has no use for these events.
            raise ValueError("lifespan")
        await application(scope, receive, send)

    return connections_only


def direct(use: Callable[..., Any]) -> Application:
    """Return an application that accepts every websocket and gives `use` its direct channel and `receive`."""

    async def application(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        await use(scope["extensions"]["ws_subprocess.direct"]["channel"], receive)

    return application


def handshake(path: str = "/", extra: str = "") -> bytes:
    """Return a good websocket handshake; `extra` is header lines, each with its line end."""
    return (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{extra}\r\n"
    ).encode()


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """Return a client's frame, masked with zeros."""
    head = opcode | (0x80 if fin else 0)
    if len(payload) < 126:
        return struct.pack("!BB", head, 0x80 | len(payload)) + bytes(4) + payload
    if len(payload) < 65536:
        return struct.pack("!BBH", head, 0x80 | 126, len(payload)) + bytes(4) + payload
    return struct.pack("!BBQ", head, 0x80 | 127, len(payload)) + bytes(4) + payload


CONT, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


@dataclass
class RawWebSocket:
    """A client that sends what it is told and reads frame by frame."""

    sock: socket.socket
    head: bytes
    buffer: bytes = b""

    def __enter__(self) -> "RawWebSocket":
        return self

    def __exit__(self, *_: object) -> None:
        self.sock.close()

    def send(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        self.sock.sendall(frame(opcode, payload, fin=fin))

    def read(self) -> tuple[int, bytes]:
        """Return the next frame's opcode and payload.

        Raises:
            ConnectionError: The stream ended first.
        """
        head, length = self._take(2)
        assert head & 0x80, "this server never fragments"
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        return head & 0x7F, self._take(length)

    def read_close(self) -> tuple[int, str]:
        """Return code and reason of the Close that must come next, pings aside."""
        opcode, payload = self.read()
        while opcode == PING:
            opcode, payload = self.read()
        assert opcode == CLOSE, (opcode, payload[:100])
        return struct.unpack("!H", payload[:2])[0], payload[2:].decode()

    def _take(self, count: int) -> bytes:
        while len(self.buffer) < count:
            part = self.sock.recv(1 << 20)
            if not part:
                raise ConnectionError(f"the stream ended; {len(self.buffer)} bytes are left over")
            self.buffer += part
        taken, self.buffer = self.buffer[:count], self.buffer[count:]
        return taken


def read_head(sock: socket.socket) -> bytes:
    """Return a response's head, and not a byte more."""
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        byte = sock.recv(1)
        if not byte:
            raise ConnectionError(f"the stream ended in the head: {head!r}")
        head += byte
    return head


def read_to_end(sock: socket.socket) -> bytes:
    """Return all bytes until the peer ends the stream."""
    parts = []
    while part := sock.recv(65536):
        parts.append(part)
    return b"".join(parts)
