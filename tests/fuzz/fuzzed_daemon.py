"""A real daemon that is talked to in raw bytes, and what must be true of it whatever it was sent."""

import asyncio
import contextlib
import json
import re
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from daemon_process import PROGRAM, DaemonProcess, launch
from observing import until
from scripted_server import ScriptedServer, read_body, respond, scripted, target

LISTEN = ("--listen", "127.0.0.1:0")
AT_ONCE = 48
ANSWER_S = 20.0
MIB = 1024 * 1024
# What a daemon may grow by, whatever number of cases it has seen.
GROWTH_BYTES = 48 * MIB
# Connections to the controller that wait to be used again.
IDLE_CONNECTIONS = 24
_STATUS = re.compile(rb"HTTP/1\.1 ([1-5][0-9][0-9]) [\x20-\x7e]*")
_HEADER = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+: ?[\t\x20-\x7e]*")


@dataclass
class FuzzedDaemon:
    """A running daemon.

    Attributes:
        answers: What the controller answers to a token, byte for byte; any other is refused.
        breaks_off: The tokens after whose answer it ends the connection.
        granted: How often an answer was sent.
    """

    process: DaemonProcess
    controller: ScriptedServer
    answers: dict[str, bytes] = field(default_factory=dict)
    breaks_off: set[str] = field(default_factory=set)
    granted: Counter[str] = field(default_factory=Counter)
    _log_end: int = 0
    _descriptors: Counter[str] = field(default_factory=Counter)
    _rss_bytes: int = 0

    @property
    def host(self) -> bytes:
        return b"127.0.0.1:%d" % self.process.port

    async def talk(self, *pieces: bytes) -> bytes:
        """Send the pieces one by one; return the head of the first answer, or b"" when there is none."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.process.port)
        try:
            async with asyncio.timeout(ANSWER_S):
                with contextlib.suppress(ConnectionError):
                    for piece in pieces:
                        writer.write(piece)
                        await writer.drain()
                    return await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError as exc:
            received = exc.partial
        else:
            received = b""
        finally:
            reset(writer)
        assert not received, f"half an answer: {received!r}"
        return b""

    async def in_parallel(self, work: Callable[[int], Awaitable[Any]], cases: range) -> None:
        """Do the work of all these cases, some of them at a time."""
        waiting = iter(cases)

        async def take_turns() -> None:
            for number in waiting:
                await work(number)

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(take_turns())

    async def is_unharmed(self) -> None:
        """Fail unless it serves, has logged nothing bad, and holds nothing of what was done to it."""
        process = self.process
        assert process.process.poll() is None, f"ended with status {process.process.returncode}: {process.log[-4000:]}"
        assert (await process.get("/healthz")).text == "ok\n"
        await process.sessions_reach(0)
        await until(lambda: not process.children(), "no child", ANSWER_S)
        self._check_log()
        try:
            async with asyncio.timeout(ANSWER_S):
                while more := self._find_more():  # noqa: ASYNC110 - it is another process
                    await asyncio.sleep(0.01)
        except TimeoutError:
            pytest.fail(f"holds more than before: {more}")
        growth = process.rss_bytes() - self._rss_bytes
        assert growth < GROWTH_BYTES, f"grown by {growth} bytes"

    def _check_log(self) -> None:
        with open(self.process.folder / "stderr", "rb") as file:
            file.seek(self._log_end)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._log_end += len(whole)
        for line in whole.splitlines():
            assert all(0x20 <= byte < 0x7F for byte in line), line
            fields = json.loads(line)
            assert "exception" not in fields, fields["exception"]
            assert fields["level"] in ("debug", "info", "warning"), fields

    def _find_more(self) -> Counter[str]:
        more = self.process.descriptors() - self._descriptors
        more["socket"] -= min(more["socket"], IDLE_CONNECTIONS)
        return +more

    async def warm_up(self) -> None:
        """Start one command, for which it opens and loads what it keeps; then remember what it holds."""
        self.answers["warm"] = respond('{"command": "/bin/true"}')
        assert read_status(await self.talk(handshake(self.host, b"warm"))) == 101
        await self.process.sessions_reach(0)
        await until(lambda: not self.process.children(), "no child", ANSWER_S)
        self._descriptors, self._rss_bytes = self.process.descriptors(), self.process.rss_bytes()


def handshake(host: bytes, token: bytes, more: bytes = b"") -> bytes:
    """Return a good handshake; `more` is header lines, each with its end."""
    return (
        b"GET /ws?token=" + token + b" HTTP/1.1\r\nHost: " + host + b"\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n" + more + b"\r\n"
    )


def cut(rng: Random, data: bytes) -> list[bytes]:
    """Return the data in one to five pieces."""
    places = sorted(rng.randint(0, len(data)) for _ in range(rng.choice((0, 0, 0, 1, 4))))
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


def read_status(head: bytes) -> int:
    """Return the status of an answer whose head is good HTTP, 0 when there is no answer."""
    if not head:
        return 0
    first, *lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    match = _STATUS.fullmatch(first)
    assert match, f"no status line: {first!r}"
    for line in lines:
        assert _HEADER.fullmatch(line), f"no header line: {line!r}"
    return int(match[1])


def read_token(question: bytes) -> str:
    """Return the token that the controller is asked about: in the query, or with a proposal in the body."""
    if question.startswith(b"POST "):
        token: str = json.loads(read_body(question))["token"]
        return token
    return dict(parse_qsl(urlsplit(target(question)).query, encoding="latin-1")).get("token", "")


def reset(writer: asyncio.StreamWriter) -> None:
    """Vanish; of thousands of connections that end in good order, the ports would be missed for a minute."""
    sock = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def fuzzed_daemon(folder: Path, *flags: str, program: Sequence[str] = PROGRAM) -> AsyncIterator[FuzzedDaemon]:
    """Run a daemon until the block ends; who does not finish a request is cut after a quarter of a second."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        token = read_token(controller.requests.pop())
        if token in daemon.answers:
            daemon.granted[token] += 1
        writer.write(daemon.answers.get(token, respond("", "403 Forbidden")))
        if token in daemon.breaks_off:
            raise ConnectionAbortedError

    async with scripted(answer) as controller:
        own = ("--controller-url", controller.url, "--controller-timeout", "1s", "--trusted-proxy", "127.0.0.1")
        limits = ("--handshake-timeout", "0.25s", "--max-message-bytes", "64KiB")
        process = launch(folder / "fuzzed", "serve", *LISTEN, *own, *limits, *flags, program=program)
        daemon = FuzzedDaemon(process, controller)
        try:
            await process.ready()
            await daemon.warm_up()
            yield daemon
        finally:
            await process.end()
