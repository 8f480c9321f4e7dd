"""Bad clients, in a process of their own: attackers.py PORT KIND COUNT [TOKEN...].

Kinds: `silent` connects, says nothing, and comes back when cut; `pinging` sends pings as fast as it may for a while and
then a flood, is cut, and comes back with another token; `deaf` has a session and never reads. Says `ready` once each is
where it wants to be, then `cut` for every flooder that was. They give way to everybody else (nice): what is measured is
the daemon, not who gets the processor.
"""

import asyncio
import contextlib
import itertools
import os
import resource
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator

RETURN_S = 2.0
LIFE_S = 10.0
# Ten a second are allowed.
BETWEEN_PINGS_S = 0.11
FLOOD_PINGS = 2000
_PING = b"\x89\xfd" + bytes(4) + bytes(125)
_SMALL_BYTES = 4096

# Called once an attacker is where it wants to be.
Settled = Callable[[], None]


async def be_silent(port: int, settled: Settled) -> None:
    """Connect and wait; come back when cut."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            settled()
            await reader.read()
            writer.close()
        await asyncio.sleep(RETURN_S)


async def ping(port: int, settled: Settled, first_life_s: float, tokens: Iterator[str]) -> None:
    """Ping as often as is allowed, then more often, be cut; live again for as long as there are tokens."""
    life_s = first_life_s
    for token in tokens:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        with contextlib.suppress(ConnectionError):
            writer.write(handshake(port, token))
            await reader.readuntil(b"\r\n\r\n")
            settled()
            for _ in range(int(life_s / BETWEEN_PINGS_S)):
                writer.write(_PING)
                await asyncio.sleep(BETWEEN_PINGS_S)
            writer.write(_PING * FLOOD_PINGS)
            if (await reader.read()).endswith(b"\x03\xf0Too many pings"):
                print("cut", flush=True)
        writer.close()
        life_s = LIFE_S


async def be_deaf(port: int, settled: Settled, token: str) -> None:
    """Have a session, and take nothing of what it says."""
    loop = asyncio.get_running_loop()
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _SMALL_BYTES)
        sock.setblocking(False)
        await loop.sock_connect(sock, ("127.0.0.1", port))
        await loop.sock_sendall(sock, handshake(port, token))
        assert (await loop.sock_recv(sock, 12)) == b"HTTP/1.1 101"
        settled()
        await asyncio.Event().wait()


def handshake(port: int, token: str) -> bytes:
    return (
        f"GET /ws?token={token} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    ).encode()


def build(kind: str, port: int, count: int, tokens: list[str], settled: Settled) -> list[Awaitable[None]]:
    """Return that many attackers; each has its part of the tokens."""
    match kind:
        case "silent":
            return [be_silent(port, settled) for _ in range(count)]
        case "pinging":
            lives = [(LIFE_S * n / count, itertools.islice(tokens, n, None, count)) for n in range(count)]
            return [ping(port, settled, *life) for life in lives]
        case "deaf":
            return [be_deaf(port, settled, tokens[n]) for n in range(count)]
    raise ValueError(kind)


async def main(port: int, kind: str, count: int, tokens: list[str]) -> None:
    left = count

    def settled() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            print("ready", flush=True)

    await asyncio.gather(*build(kind, port, count, tokens, settled))
    # Whoever has no token left has nothing more to do, but the others' connections stay.
    await asyncio.Event().wait()


if __name__ == "__main__":
    os.nice(19)
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    asyncio.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4:]))
