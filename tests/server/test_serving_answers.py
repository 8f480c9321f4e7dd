"""What the server adds to answers: trailers, answers that are cut, and the end of a client that has sent too much."""

import asyncio
import socket
import struct
import threading
from typing import Any

import pytest
from running_server import WAIT_S, both_loops, both_parsers, handshake, read_head, read_to_end

from ws_subprocess.address import Tcp, parse_listen

POST = b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
CLOSE = (b"connection", b"close")


def answer_with(*headers: tuple[bytes, bytes], use: Any, trailers: bool = False) -> Any:
    """Return an application that begins an answer and lets `use` go on with it."""

    async def application(scope, receive, send):
        start = {"type": "http.response.start", "status": 200, "headers": headers, "trailers": trailers}
        await send(start)
        await use(scope, receive, send)

    return application


async def _send_trailers(scope, receive, send):
    await send({"type": "http.response.body", "body": b"hi"})
    await send({"type": "http.response.trailers", "headers": [(b"x-a", b"1")], "more_trailers": True})
    await send({"type": "http.response.trailers", "headers": [(b"x-b", b"2")]})


@both_parsers
def test_trailers_follow_the_last_chunk_and_the_connection_goes_on(serving):
    server = serving(answer_with(use=_send_trailers, trailers=True))

    with server.connect() as sock:
        for _ in range(2):
            sock.sendall(GET)
            read_head(sock)
            expected = b"2\r\nhi\r\n0\r\nx-a: 1\r\nx-b: 2\r\n\r\n"
            got = b""
            while len(got) < len(expected):
                got += sock.recv(len(expected) - len(got))
            assert got == expected


@both_parsers
def test_an_answer_with_trailers_can_be_the_last(serving):
    response = serving(answer_with(CLOSE, use=_send_trailers, trailers=True)).request(GET + GET)

    assert response.count(b"HTTP/1.1 200") == 1
    assert response.endswith(b"\r\nx-b: 2\r\n\r\n")


@both_parsers
def test_a_client_of_http_1_0_is_offered_no_trailers(serving):
    offered = []

    async def application(scope, receive, send):
        offered.append("http.response.trailers" in scope["extensions"])
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    server = serving(application)
    server.request(b"GET / HTTP/1.0\r\n\r\n")
    server.request(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))

    assert offered == [False, True]


@both_parsers
@pytest.mark.parametrize("headers", [(), ((b"content-length", b"4"),)], ids=["no length", "length"])
def test_a_client_of_http_1_0_gets_no_chunks_and_the_end_of_the_connection(serving, headers):
    async def use(scope, receive, send):
        await send({"type": "http.response.body", "body": b"hi", "more_body": True})
        await send({"type": "http.response.body", "body": b"!\n"})

    response = serving(answer_with(*headers, use=use)).request(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")

    head, _, body = response.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert b"\r\nconnection: close" in head.lower()
    assert body == b"hi!\n"


@both_parsers
def test_a_client_of_http_1_0_hears_of_an_application_that_fails(serving):
    async def application(scope, receive, send):
        raise ZeroDivisionError

    response = serving(application).request(b"GET / HTTP/1.0\r\n\r\n")

    assert response.startswith(b"HTTP/1.1 500 ")
    assert response.endswith(b"\r\n\r\nInternal Server Error")


@both_parsers
def test_a_cut_answer_has_its_bytes_and_no_end(serving, caplog):
    async def use(scope, receive, send):
        await send({"type": "http.response.body", "body": b"hi", "more_body": True})
        scope["extensions"]["ws_subprocess.answer"]["answer"].cut()

    response = serving(answer_with(use=use)).request(GET)

    assert response.endswith(b"\r\n\r\n2\r\nhi\r\n")
    assert not [record for record in caplog.records if record.levelname == "ERROR"], caplog.messages


@both_parsers
def test_what_follows_the_last_request_does_not_hide_that_the_client_leaves(serving):
    left = threading.Event()

    async def use(scope, receive, send):
        while (await receive())["type"] != "http.disconnect":
            pass
        left.set()

    with serving(answer_with(CLOSE, use=use)).connect() as sock:
        sock.sendall(GET + GET + POST + b"Content-Length: 99999999\r\n\r\n")
        read_head(sock)
        sock.sendall(b"x" * 1_000_000)
        assert not left.is_set()

    assert left.wait(WAIT_S)


@both_parsers
def test_a_last_answer_arrives_though_its_client_goes_on_sending(serving):
    async def use(scope, receive, send):
        await receive()
        await send({"type": "http.response.body", "body": b"enough"})

    with serving(answer_with(CLOSE, (b"content-length", b"6"), use=use)).connect() as sock:
        sock.sendall(POST + b"Content-Length: 50000000\r\n\r\n" + b"x" * 3_000_000)

        assert read_to_end(sock).endswith(b"\r\n\r\nenough")


@pytest.mark.parametrize("reset", [False, True])
@both_parsers
def test_a_client_that_leaves_while_its_body_is_not_read_is_seen_to_leave(serving, reset):
    """The application does not ask for more of the body, so the connection is not read."""
    seen = threading.Event()
    paused = threading.Event()

    async def use(scope, receive, send):
        await receive()
        answer = scope["extensions"]["ws_subprocess.answer"]["answer"]
        while not answer.has_left():
            paused.set()
            await asyncio.sleep(0.005)
        seen.set()

    sock = serving(answer_with(use=use)).connect()
    sock.sendall(POST + b"Content-Length: 50000000\r\n\r\n" + b"x" * 300_000)
    assert paused.wait(WAIT_S)
    assert not seen.is_set()
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()

    assert seen.wait(WAIT_S)


@both_parsers
def test_connections_ask_the_kernel_whether_the_client_is_there(serving):
    options = []

    async def use(scope, receive, send):
        answer = scope["extensions"]["ws_subprocess.answer"]["answer"]
        sock = answer._connection.transport.get_extra_info("socket")
        options.append(sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))
        await send({"type": "http.response.body"})

    serving(answer_with(CLOSE, use=use)).request(GET)

    assert options == [1]


@both_parsers
def test_a_listener_for_one_door_says_so_in_the_state_of_its_requests(serving):
    doors = []

    async def application(scope, receive, send):
        doors.append((scope["type"], scope["state"].get("door")))
        if scope["type"] == "http":
            await send({"type": "http.response.start", "status": 204, "headers": [CLOSE]})
            await send({"type": "http.response.body"})

    server = serving(application, doors={"lab": (Tcp("127.0.0.1", 0),)})
    server.request(GET)
    (url,) = server.server.list_urls("lab")
    address = parse_listen(url.partition("://")[2])
    assert isinstance(address, Tcp)
    for data in (GET, handshake()):
        with socket.create_connection((address.host, address.port), timeout=WAIT_S) as sock:
            sock.sendall(data)
            read_to_end(sock)

    assert doors == [("http", None), ("http", "lab"), ("websocket", "lab")]


async def _send_short(scope, receive, send):
    await send({"type": "http.response.body", "body": b"short"})


async def _send_nothing(scope, receive, send):
    while (await receive())["type"] != "http.disconnect":
        pass


@both_parsers
@both_loops
def test_the_head_and_the_body_of_a_short_answer_come_in_one_packet(serving):
    server = serving(answer_with((b"content-length", b"5"), use=_send_short))

    with server.connect() as sock:
        sock.sendall(GET)
        read_head(sock)
        assert sock.recv(5) == b"short"

        # tcpi_data_segs_in of struct tcp_info in linux/tcp.h.
        info = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 192)
        assert struct.unpack_from("=I", info, 152) == (1,)


@both_parsers
@both_loops
def test_a_head_does_not_wait_for_a_body_that_does_not_come(serving):
    with serving(answer_with(use=_send_nothing)).connect() as sock:
        sock.sendall(GET)

        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
