"""A token that counts once, used by fifty at the same moment: one starts, whatever becomes of the daemon meanwhile.

What was started is counted by the commands themselves: each leaves a line in a file.
"""

import asyncio
import json
import random
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from daemon_process import DaemonProcess
from observing import until
from scale import scaled
from scripted_server import respond, scripted

RACERS = 50
KEY = b"an-hmac-key-of-32-bytes-or-more-0123456789"
AUDIENCE = "terminals.example"
KINDS = ["signed", "of the controller"]
USED = (403, b"Invalid token")


@dataclass
class Course:
    """What is raced for.

    Attributes:
        token: Counts once.
        started: Where each command that was started leaves a line.
        start: Starts a daemon that takes the token; all have one state_dir.
    """

    token: str
    started: Path
    start: Callable[[], Awaitable[DaemonProcess]]

    def count_started(self) -> int:
        """Return how many commands were started."""
        return len(self.started.read_text().splitlines())


@pytest.fixture(params=KINDS)
async def course(
    request: pytest.FixtureRequest, tmp_path: Path, launch_daemon: Callable[..., DaemonProcess]
) -> AsyncIterator[Course]:
    """A token that is signed and has a jti, or one of the controller under token_once; the other authority is there."""
    started, key = tmp_path / "started", tmp_path / "key"
    started.touch()
    key.write_bytes(KEY)
    key.chmod(0o600)
    grant = {"command": "/bin/sh", "args": ["-c", 'echo started >> "$0"', str(started)], "tty": False}
    now = int(time.time())
    claims = {"aud": AUDIENCE, "iat": now, "exp": now + 600, "jti": "a-number", **grant}
    token = jwt.encode(claims, KEY, "HS256") if request.param == "signed" else "a-token-of-the-controller"
    # It grants every time; that the token counts once is the daemon's doing.
    async with scripted(respond(json.dumps(grant))) as controller:
        flags = ("--controller-url", controller.url, "--controller-timeout", "30s", "--token-once")
        own = ("--jwt-key", f"HS256:file:{key}", "--jwt-audience", AUDIENCE, "--state-dir", str(tmp_path / "state"))

        async def start() -> DaemonProcess:
            daemon = launch_daemon("serve", "--listen", "127.0.0.1:0", *flags, *own)
            await daemon.ready()
            return daemon

        yield Course(token, started, start)


async def race(token: str, *daemons: DaemonProcess) -> Counter[tuple[int, bytes]]:
    """Let fifty clients use the token at once, of each daemon in turn; return status and text of their answers.

    A client that got no answer, because its daemon was killed, counts as (0, b"").
    """
    clients = [await asyncio.open_connection("127.0.0.1", daemons[i % len(daemons)].port) for i in range(RACERS)]
    for index, (_, writer) in enumerate(clients):
        writer.write(handshake(token, daemons[index % len(daemons)].port))
    try:
        return Counter(await asyncio.gather(*(read_answer(reader) for reader, _ in clients)))
    finally:
        for _, writer in clients:
            writer.transport.abort()


def handshake(token: str, port: int) -> bytes:
    return (
        f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()


async def read_answer(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    """Return the status and, of a refusal, the text."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        status = int(head.split()[1])
        length = next(
            (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
        )
        return status, await reader.readexactly(length)
    except (ConnectionError, asyncio.IncompleteReadError):
        return 0, b""


async def has_no_session(daemon: DaemonProcess) -> None:
    """Wait until all that the daemon started has ended."""
    await daemon.sessions_reach(0)
    await until(lambda: not daemon.children(), "no child")


async def test_of_fifty_at_once_exactly_one_starts_and_the_others_are_told_no_more_than_anybody(course: Course) -> None:
    daemon = await course.start()

    answers = await race(course.token, daemon)
    await has_no_session(daemon)

    assert answers == {(101, b""): 1, USED: RACERS - 1}
    assert course.count_started() == 1
    audit = Counter((line["decision"], line["reason"]) for line in daemon.log_lines() if "decision" in line)
    assert audit == {("granted", ""): 1, ("refused", "token_used"): RACERS - 1}
    assert await daemon.read_metric('ws_subprocess_sessions_started_total{door="terminal"}') == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
async def test_a_daemon_that_is_started_again_knows_what_was_used(course: Course, number: signal.Signals) -> None:
    first = await course.start()
    assert (await race(course.token, first))[101, b""] == 1
    await has_no_session(first)
    first.send(number)
    await first.ended()

    second = await course.start()

    assert await race(course.token, second) == {USED: RACERS}
    assert course.count_started() == 1


async def test_of_daemons_that_share_their_memory_exactly_one_starts_it(course: Course) -> None:
    daemons = [await course.start(), await course.start()]

    answers = await race(course.token, *daemons)
    for daemon in daemons:
        await has_no_session(daemon)

    assert answers == {(101, b""): 1, USED: RACERS - 1}
    assert course.count_started() == 1


@pytest.mark.parametrize("number", range(scaled(3)))
async def test_a_daemon_that_is_killed_amid_the_race_starts_it_at_most_once(course: Course, number: int) -> None:
    first = await course.start()
    racing = asyncio.ensure_future(race(course.token, first))
    await asyncio.sleep(random.Random(number).uniform(0, 0.1))
    first.send(signal.SIGKILL)
    await first.ended()
    before = await racing

    second = await course.start()
    after = await race(course.token, second)
    await has_no_session(second)

    assert before[101, b""] + after[101, b""] <= 1
    assert course.count_started() <= 1
