"""The catalogue's frames: each bad one closes with its code, and none costs memory, the loop's time or a process."""

import contextlib
import hashlib
import shlex
import struct
import sys
import time
import zlib
from pathlib import Path

from catalogue import Entry, case
from daemon import Daemon
from daemon_process import NATIVE
from expecting import expect_close, memory_stays_flat, variants
from observing import list_children, until
from raw_peer import raw_peer
from running_server import BINARY, CLOSE, CONT, PING, PONG, TEXT, WAIT_S, RawWebSocket, frame
from scale import scaled
from threaded_daemon import threaded_daemon

MIB = 1024 * 1024
ECHO = "stty raw -echo; echo ready; exec cat"
NO_WAIT = {"drain_timeout_s": 0.0, "close_timeout_s": 1.0}


def list_bad_frames(case_id: str) -> dict[str, bytes]:
    """Return what the case sends, by variant."""
    match case_id:
        case "FR-01":
            return {"binary": b"\x82\x01x", "text": b"\x81\x02{}", "ping": b"\x89\x00", "close": b"\x88\x02\x03\xe8"}
        case "FR-03":
            return {f"RSV{bit}": bytes([0x82 | 0x80 >> bit, 0x80]) + bytes(4) for bit in (1, 2, 3)}
        case "FR-04":
            return {"126 bytes": frame(PING, bytes(126)), "fragmented": frame(PING, b"x", fin=False)}
        case "FR-05":
            unfinished = frame(BINARY, b"x", fin=False)
            return {
                "continues nothing": frame(CONT, b"x"),
                "inside a message": unfinished + frame(BINARY, b"x"),
                "text inside a message": unfinished + frame(TEXT, b"x"),
            }
        case "FR-08":
            return {
                "2^62": b"\x82\xff" + struct.pack("!Q", 2**62) + bytes(4),
                "MSB set": b"\x82\xff" + struct.pack("!Q", 2**63 + 1) + bytes(4),
                "one more than the limit": b"\x82\xff" + struct.pack("!Q", MIB + 1) + bytes(4),
            }
        case "FR-11":
            return {
                "999": frame(CLOSE, b"\x03\xe7"),
                "1005": frame(CLOSE, b"\x03\xed"),
                "1 byte": frame(CLOSE, b"x"),
                "reason not UTF-8": frame(CLOSE, b"\x03\xe8\xff"),
            }
    raise KeyError(case_id)


def read_until(client: RawWebSocket, wanted: bytes) -> bytes:
    """Return the output until it has `wanted`."""
    output = b""
    while wanted not in output:
        opcode, payload = client.read()
        assert opcode != CLOSE, payload
        output += payload if opcode == BINARY else b""
    return output


def read_last_words(client: RawWebSocket) -> tuple[int, str]:
    """Return code and reason of the Close, whatever comes before it."""
    opcode, payload = client.read()
    while opcode != CLOSE:
        opcode, payload = client.read()
    return struct.unpack("!H", payload[:2])[0], payload[2:].decode()


def flood(client: RawWebSocket, piece: bytes, times: int) -> None:
    """Send `piece` again and again until all is sent or the daemon has had enough."""
    with contextlib.suppress(ConnectionError):
        for _ in range(times):
            client.sock.sendall(piece)


# The catalogue's 50 and 100 ms hold on a quiet machine; under coverage and beside other tests a turn takes three times
# as long. A loop that such a peer blocks stands still for seconds.
BLOCKED_S = 0.3


@case("FR-01", "FR-03", "FR-04", "FR-05", "FR-08", "FR-11")
async def test_a_bad_frame_closes_and_the_command_ends(daemon: Daemon, entry: Entry) -> None:
    path = daemon.grant(ECHO)

    with memory_stays_flat(MIB), variants() as variant:
        for name, sent in list_bad_frames(entry.id).items():
            with variant(name):
                async with raw_peer(daemon.port, path) as peer:
                    await peer.read_output(len(b"ready\n"))
                    (child,) = list_children()
                    await peer.send(frame(BINARY, b"good") + sent + frame(BINARY, b"late"))

                    expect_close(entry, *await peer.read_close(), variant=name)
                await until(lambda: not len(daemon.app.registry), "no session")
                assert child not in list_children()


@case("FR-09")
def test_a_deflate_bomb(entry: Entry) -> None:
    # The same block again and again: each is whole in itself.
    packer = zlib.compressobj(9, wbits=-12)
    packer.compress(b"")
    block = packer.compress(bytes(4 * MIB)) + packer.flush(zlib.Z_FULL_FLUSH)
    bomb = bytearray(frame(BINARY, block * (MIB // len(block))))
    bomb[0] |= 0x40
    assert len(bomb) > 0.95 * MIB
    assert 4 * (MIB // len(block)) > 1000, "a GiB"
    extension = "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits=12\r\n"

    with threaded_daemon(ECHO, compression=True, **NO_WAIT) as daemon, daemon.open(extra=extension) as client:
        assert b"permessage-deflate" in client.head
        with memory_stays_flat(16 * MIB), daemon.loop_is_watched():
            client.sock.sendall(bomb)
            closed = read_last_words(client)

    expect_close(entry, *closed)
    assert daemon.longest_turn_s < BLOCKED_S


@case("FR-10")
def test_300000_empty_fragments(entry: Entry) -> None:
    piece = frame(CONT, fin=False) * 30_000

    with threaded_daemon(ECHO, **NO_WAIT) as daemon, daemon.open() as client:
        read_until(client, b"ready\n")
        with memory_stays_flat(2 * MIB), daemon.loop_is_watched():
            client.send(BINARY, b"a", fin=False)
            flood(client, piece, 10)
            closed = read_last_words(client)

    expect_close(entry, *closed)
    assert closed[1] == "more than 1024 fragments"
    assert daemon.longest_turn_s < BLOCKED_S


@case("FR-13")
def test_a_flood_of_pings_of_a_client_that_never_reads(entry: Entry) -> None:
    piece = frame(PING, bytes(125)) * 1000

    with threaded_daemon(ECHO, **NO_WAIT) as daemon, daemon.open() as client:
        read_until(client, b"ready\n")
        with memory_stays_flat(2 * MIB), daemon.loop_is_watched():
            flood(client, piece, 1000)
        closed = read_last_words(client)

    expect_close(entry, *closed)
    assert daemon.longest_turn_s < BLOCKED_S


STUBBORN = """
trap 'echo HUP >> {0}' HUP; trap 'echo TERM >> {0}' TERM
stty raw; echo ready; while :; do sleep 0.02; done
"""


@case("FR-15")
def test_a_client_that_shows_no_sign_of_life(tmp_path: Path, entry: Entry) -> None:
    signals = tmp_path / "signals"
    script = STUBBORN.format(signals)

    with threaded_daemon(script, ping_interval_s=0.2, ping_timeout_s=0.4, **NO_WAIT) as daemon, daemon.open() as client:
        read_until(client, b"ready\n")
        type_for(client, 1.0)
        fell_silent_s = time.monotonic()
        expect_close(entry, *read_last_words(client))
        silent_s = time.monotonic() - fell_silent_s
        assert len(daemon.app.registry) == 1, "the command has its time to end"

        ends_at_s = time.monotonic() + WAIT_S
        while len(daemon.app.registry):
            assert time.monotonic() < ends_at_s, "the command was not killed"

    assert 0.3 < silent_s < 5
    assert signals.read_text().split() == ["HUP", "TERM"]
    assert not list_children()


def type_for(client: RawWebSocket, duration_s: float) -> None:
    """Answer no ping, but type whenever one comes."""
    ends_at_s = time.monotonic() + duration_s
    while time.monotonic() < ends_at_s:
        if client.read()[0] == PING:
            client.send(BINARY, b"x")


@case("FR-17")
def test_pongs_that_nobody_asked_for(entry: Entry) -> None:
    entry.wants("ok")

    with threaded_daemon(ECHO, **NO_WAIT) as daemon, daemon.open() as client:
        read_until(client, b"ready\n")
        client.sock.sendall(frame(PONG, b"x" * 125) * 50 + frame(BINARY, b"still here"))
        assert read_until(client, b"here") == b"still here"

        with memory_stays_flat(2 * MIB), daemon.loop_is_watched():
            flood(client, frame(PONG, b"x" * 125) * 1000, 100)
        closed = read_last_words(client)

    # More than 10 a second in the long run is more than anybody needs.
    assert closed == (1008, "Too many pings")
    assert daemon.longest_turn_s < BLOCKED_S


# Reads to the end; tells how often it had to read, how much it got, and what.
COUNTING = """
import hashlib, os
digest, reads, size = hashlib.sha256(), 0, 0
while data := os.read(0, 1 << 20):
    digest.update(data); reads += 1; size += len(data)
print(reads, size, digest.hexdigest())
"""


@case("FR-18")
def test_very_many_frames_of_one_byte(entry: Entry) -> None:
    entry.wants("ok")
    # A million of them takes longer than all other tests here together; so many at scale 4.
    count = scaled(250_000)
    data = bytes(number * number % 251 for number in range(count)).replace(b"\n", b" ")
    frames = b"".join(b"\x82\x81\0\0\0\0" + data[at : at + 1] for at in range(count))
    script = f"stty raw -echo; echo ready; head -c {count} | {shlex.quote(sys.executable)} -c {shlex.quote(COUNTING)}"

    with threaded_daemon(script, **NO_WAIT) as daemon, daemon.open(NATIVE) as client:
        read_until(client, b"ready\n")
        begun_s = time.process_time()
        with memory_stays_flat(4 * MIB), daemon.loop_is_watched():
            client.sock.sendall(frames)
            told = read_until(client, b"\n").split()
        spent_s = time.process_time() - begun_s

    assert told[1:] == [str(count).encode(), hashlib.sha256(data).hexdigest().encode()]
    assert spent_s / count < 200e-6
    assert daemon.longest_turn_s < BLOCKED_S
