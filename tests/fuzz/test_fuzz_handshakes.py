"""Requests that are almost good: whatever comes, the answer is good HTTP and no internal error, and nothing starts that
nobody granted."""

import base64
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from random import Random

import pytest
from daemon_process import PROGRAM
from fuzzed_daemon import FuzzedDaemon, cut, fuzzed_daemon, read_status
from fuzzing import dice, is_thorough, mutate, numbers, replayable
from scripted_server import respond

TOKEN = b"a-g00d-token"
ENCODED = base64.urlsafe_b64encode(TOKEN).rstrip(b"=")
UPGRADE = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
BEARER = b"Authorization: Bearer " + TOKEN + b"\r\n"
# Who comes through a proxy on this machine, and is on it, too: others may not knock so often.
FORWARDED = b"X-Forwarded-For: 10.0.0.7, 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
# HOST stands for the daemon's own.
HEADS = (
    b"GET /ws?token=" + TOKEN + b"&rows=24&cols=80 HTTP/1.1\r\nHost: HOST\r\n" + FORWARDED + UPGRADE + b"\r\n",
    b"GET /ws HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\n" + BEARER + UPGRADE + b"\r\n",
    b"GET /ws HTTP/1.1\r\nHost: HOST\r\nSec-WebSocket-Protocol: ws-subprocess.v1, bearer." + ENCODED + b"\r\n"
    b"Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits\r\n" + UPGRADE + b"\r\n",
    b"GET /ws HTTP/1.1\r\nHost: HOST\r\nAccept: application/problem+json\r\n" + BEARER + b"\r\n",
    b"OPTIONS /ws HTTP/1.1\r\nHost: HOST\r\nOrigin: http://HOST\r\nAccess-Control-Request-Method: GET\r\n\r\n",
    b'GET /static/page.js HTTP/1.1\r\nHost: HOST\r\nRange: bytes=0-10\r\nIf-None-Match: "x"\r\n\r\n',
    b"GET /metrics HTTP/1.1\r\nHost: HOST\r\nX-Forwarded-For: 10.0.0.7\r\nX-Forwarded-Proto: https\r\n\r\n",
    b"POST /ws HTTP/1.1\r\nHost: HOST\r\nContent-Length: 5\r\n\r\nhello",
    b"POST / HTTP/1.1\r\nHost: HOST\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    b"HEAD / HTTP/1.0\r\nHost: HOST\r\nConnection: keep-alive\r\n\r\n",
)
AGREED = {0, 101, 200, 204, 206, 304, 307, 400, 403, 404, 405, 413, 414, 416, 426, 431, 501, 503, 505}


def make_request(rng: Random, host: bytes) -> bytes:
    """Return a request, or two in a row, with some places changed."""
    data = b"".join(rng.choice(HEADS) for _ in range(rng.choice((1, 1, 1, 2)))).replace(b"HOST", host)
    return mutate(rng, data)


# Without httptools, as on other Pythons than CPython, the daemon reads requests with h11.
WITHOUT_HTTPTOOLS = (
    "import sys, runpy; sys.modules['httptools'] = None; runpy.run_module('ws_subprocess', run_name='__main__')"
)
PARSERS = {"httptools": PROGRAM, "h11": (sys.executable, "-c", WITHOUT_HTTPTOOLS)}


@pytest.fixture(params=list(PARSERS))
async def fuzzed(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[FuzzedDaemon]:
    """A daemon with each of the parsers of requests that there are."""
    async with fuzzed_daemon(tmp_path, program=PARSERS[request.param]) as running:
        yield running


@pytest.mark.parametrize("head", HEADS[:3], ids=["query", "header", "subprotocol"])
async def test_without_a_change_each_handshake_is_good(fuzzed: FuzzedDaemon, head: bytes) -> None:
    fuzzed.answers[TOKEN.decode()] = respond(json.dumps({"command": "/bin/true"}))

    assert read_status(await fuzzed.talk(head.replace(b"HOST", fuzzed.host))) == 101
    await fuzzed.is_unharmed()


async def test_no_request_harms_the_daemon_or_starts_what_nobody_granted(fuzzed: FuzzedDaemon) -> None:
    fuzzed.answers[TOKEN.decode()] = respond(json.dumps({"command": "/bin/true"}))
    opened = 0

    async def knock(number: int) -> None:
        nonlocal opened
        rng = dice(f"handshake {fuzzed.process.process.args[1]}", number)
        data = make_request(rng, fuzzed.host)
        with replayable(f"handshake {data!r}", [number]):
            status = read_status(await fuzzed.talk(*cut(rng, data)))
            assert status in AGREED
        opened += status == 101

    for batch in numbers(share=0.15, batch=2500):
        with replayable("handshakes", batch):
            await fuzzed.in_parallel(knock, batch)
            await fuzzed.is_unharmed()

    started = await fuzzed.process.read_metric('ws_subprocess_sessions_started_total{door="terminal"}')
    assert opened <= started <= fuzzed.granted.total()
    assert not is_thorough() or opened > 0
