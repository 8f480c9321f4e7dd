"""What frames a body, and what is no part of it: trailers, chunks' sizes, and offers of other protocols."""

import contextlib
import socket

import pytest
from running_server import WAIT_S, both_parsers, read_head, read_to_end

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
CHUNKED = GET.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n\r\n"


@both_parsers
def test_a_trailer_is_no_header(serving, application, calls):
    body = b"2\r\nhi\r\n0\r\nAuthorization: Bearer t\r\nHost: evil\r\nExpect: 100-continue\r\n\r\n"

    with serving(application).connect() as sock:
        sock.sendall(CHUNKED + body)

        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
    assert calls.get(timeout=WAIT_S)["headers"] == [(b"host", b"127.0.0.1"), (b"transfer-encoding", b"chunked")]


@pytest.mark.parametrize(
    "rest", [b"0\r\nX: ", b"0\r\n", b"2;", b"2;x="], ids=["value", "name", "extension", "its value"]
)
@both_parsers
def test_what_frames_a_body_is_bounded_as_a_head_is(serving, application, rest):
    with serving(application).connect() as sock:
        sock.sendall(CHUNKED + rest)
        with contextlib.suppress(ConnectionError):
            for _ in range(200):
                sock.sendall(b"x" * 1024)
            # Nobody says so, but it ends.
            assert not read_to_end(sock).startswith(b"HTTP/1.1 200 ")


UPGRADE = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n"
BODIES = {
    "a length": b"Content-Length: 5\r\n\r\nhello",
    "chunks": b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@pytest.mark.parametrize("is_dripping", [False, True], ids=["at once", "byte by byte"])
@both_parsers
def test_who_offers_another_protocol_with_a_body_is_served_in_this_one(serving, application, body, is_dripping):
    request = GET.replace(b"GET / ", b"POST /first ") + UPGRADE + body
    with serving(application).connect() as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for part in [request[i : i + 1] for i in range(len(request))] if is_dripping else [request]:
            sock.sendall(part)
        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        assert read_exactly(sock, 12) == b"/first hello"
        sock.sendall(GET.replace(b" / ", b" /second ") + UPGRADE + b"\r\n" + GET.replace(b" / ", b" /third ") + b"\r\n")

        for path in (b"/second ", b"/third "):
            assert read_head(sock).startswith(b"HTTP/1.1 200 ")
            assert read_exactly(sock, len(path)) == path


def read_exactly(sock, count):
    data = b""
    while len(data) < count:
        part = sock.recv(count - len(data))
        assert part, data
        data += part
    return data
