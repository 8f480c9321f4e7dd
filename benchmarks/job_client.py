"""A client of jobs over HTTP so cheap that it measures the server: one loop, connections that stay, little parsing.

Law: every wait has a deadline; an answer other than the documented one ends the measurement.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from benchmarks.job_commands import PREFIX
from benchmarks.job_servers import TOKEN

DEADLINE_S = 60
_CHUNK_BYTES = 1 << 20
_STREAM_BYTES = 4 << 20


class WrongAnswerError(Exception):
    """A server answered with something that no client expects."""


@dataclass(frozen=True)
class Timing:
    """One job: seconds from its POST to the answer, and to its report."""

    accepted_s: float
    reported_s: float


@dataclass(frozen=True)
class JobClient:
    """One connection that starts jobs and reads their reports, one after the other."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def run(self, name: str, args: list[str]) -> Timing:
        """Start a job, and wait for its report.

        Raises:
            WrongAnswerError: It was refused, or has failed.
        """
        started = time.perf_counter()
        key = await self.start(name, args)
        accepted = time.perf_counter()
        report = json.loads(await self._ask("GET", f"{PREFIX}/{name}?key={key}&wait=true", b"", 200))
        reported = time.perf_counter()
        if report["returncode"] != 0:
            raise WrongAnswerError(f"report of {name}: {report}")
        return Timing(accepted - started, reported - started)

    async def start(self, name: str, args: list[str]) -> str:
        """Start a job; return its key."""
        body = json.dumps({"args": args, "force_unique_key": True}).encode()
        key: str = json.loads(await self._ask("POST", f"{PREFIX}/{name}", body, 202))["key"]
        return key

    async def count_report(self, name: str, key: str) -> int:
        """Return the size of a report's answer, which is read as fast as it comes; the connection is done with then."""
        self._send("GET", f"{PREFIX}/{name}?key={key}&wait=true", b"", "Connection: close\r\n")
        await self._read_head(200)
        size = 0
        while piece := await self.reader.read(_CHUNK_BYTES):
            size += len(piece)
        return size

    async def _ask(self, method: str, path: str, body: bytes, expected: int) -> bytes:
        self._send(method, path, body)
        head = await self._read_head(expected)
        length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
        return await self.reader.readexactly(length)

    def _send(self, method: str, path: str, body: bytes, more: str = "") -> None:
        head = f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n{more}"
        if body:
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
        self.writer.write(head.encode() + b"\r\n" + body)

    async def _read_head(self, expected: int) -> bytes:
        head = (await self.reader.readuntil(b"\r\n\r\n")).lower()
        if int(head.split(maxsplit=2)[1]) != expected:
            raise WrongAnswerError(f"expected {expected}: {head.decode()}{(await self.reader.read(1000)).decode()}")
        return head


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[JobClient]:
    """Connect; all that is done in the block has DEADLINE_S."""
    async with asyncio.timeout(DEADLINE_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_STREAM_BYTES)
        try:
            yield JobClient(reader, writer)
        finally:
            writer.close()
