"""What comes in an odd moment is no error of ours: a client that leaves, a body that goes wrong, a Close too early."""

import asyncio
import contextlib
import logging
import socket
import struct
import zlib

import pytest
from echoes import direct_echo
from running_server import BINARY, CLOSE, WAIT_S, both_loops, both_parsers, frame, handshake

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def reset(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Waiting:
    """An application that answers its last request once it is told to; the events belong to the server's loop."""

    def __init__(self, last=1):
        self.last = last
        self.asked, self.may_answer, self.answered = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def __call__(self, scope, receive, send):
        self.last -= 1
        if self.last == 0:
            self.asked.set()
            await self.may_answer.wait()
        try:
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
            await send({"type": "http.response.body", "body": b"ok"})
        finally:
            if self.last == 0:
                self.answered.set()


def wait_for(server, event):
    asyncio.run_coroutine_threadsafe(event.wait(), server.loop).result(WAIT_S)


# h11 stops reading at the third request, and so notices nothing.
@both_loops
def test_a_client_that_leaves_amid_pipelined_requests_is_no_error(serving, caplog):
    application = Waiting(last=2)
    server = serving(application)
    client = server.connect()
    client.sendall(GET * 3)
    wait_for(server, application.asked)

    reset(client)
    with caplog.at_level(logging.INFO):
        wait_until_gone(server)
        server.loop.call_soon_threadsafe(application.may_answer.set)
        wait_for(server, application.answered)

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def wait_until_gone(server):
    """Wait until the server holds no connection."""

    async def none_is_left():
        while server.server.server_state.connections:  # noqa: ASYNC110 - uvicorn tells in no other way
            await asyncio.sleep(0.002)

    asyncio.run_coroutine_threadsafe(none_is_left(), server.loop).result(WAIT_S)


@both_loops
@both_parsers
def test_a_body_that_goes_wrong_while_its_request_is_answered_is_no_error(serving, caplog):
    application = Waiting()
    server = serving(application)
    with server.connect() as client, caplog.at_level(logging.INFO):
        client.sendall(b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n")
        wait_for(server, application.asked)

        client.sendall(b"no chunk\r\n")
        # Its answer would have stood in the middle of the other.
        with contextlib.suppress(ConnectionError):
            assert client.recv(1) == b""
        server.loop.call_soon_threadsafe(application.may_answer.set)
        wait_for(server, application.answered)

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@both_parsers
@pytest.mark.parametrize("byte", [b"\x00", b"\x01", b"\x1b", b"\x7f"], ids=repr)
def test_a_control_character_in_a_header_is_a_bad_request(serving, caplog, byte):
    extra = b"Sec-WebSocket-Extensions: " + byte + b"[31m\r\n\r\n"

    with caplog.at_level(logging.INFO):
        reply = serving(direct_echo).request(handshake().removesuffix(b"\r\n") + extra)

    assert reply.startswith(b"HTTP/1.1 400 ")
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@both_loops
@pytest.mark.parametrize("extra", ["", "Sec-WebSocket-Extensions: permessage-deflate\r\n"], ids=["plain", "compressed"])
def test_a_message_with_a_close_right_behind_it_is_answered(serving, caplog, extra):
    server = serving(direct_echo, compression=True)
    with caplog.at_level(logging.INFO), server.upgrade(extra=extra) as client:
        client.sock.sendall(frame(BINARY, b"hello") + frame(CLOSE, b"\x03\xe8"))

        opcode, payload = client.read()
        assert (opcode & 0x3F, unpack(payload) if extra else payload) == (BINARY, b"hello")
        assert client.read() == (CLOSE, b"\x03\xe8")

    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


def unpack(payload):
    return zlib.decompressobj(wbits=-12).decompress(payload + b"\0\0\xff\xff")
