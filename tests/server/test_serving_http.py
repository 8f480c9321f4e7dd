"""HTTP requests: what is refused before any application sees it, deadlines, and what stays as it was."""

import contextlib
import queue
import threading
import time

import pytest
from running_server import (
    BINARY,
    KEY,
    WAIT_S,
    both_loops,
    both_parsers,
    direct,
    frame,
    handshake,
    read_head,
    read_to_end,
)

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"
HANDSHAKE = handshake()


REFUSED = {
    "absolute target": (GET.replace(b" / ", b" http://evil/ws ") + b"\r\n", 400),
    "asterisk target": (GET.replace(b"GET / ", b"OPTIONS * ") + b"\r\n", 400),
    "fragment in target": (GET.replace(b" / ", b" /a#b ") + b"\r\n", 400),
    "no host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two hosts": (GET + b"Host: evil\r\n\r\n", 400),
    "two origins": (GET + b"Origin: http://a\r\nOrigin: http://b\r\n\r\n", 400),
    "two content lengths": (GET + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "length and chunked": (
        GET.replace(b"GET", b"POST") + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "no HTTP": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(64), 400),
    "space in header name": (GET + b"X y: z\r\n\r\n", 400),
    "129 headers": (GET + b"X: y\r\n" * 128 + b"\r\n", 431),
    "one header of 64 KiB": (GET + b"X: " + b"y" * 65536 + b"\r\n\r\n", 431),
    "16 KiB in many headers": (GET + (b"X: " + b"y" * 500 + b"\r\n") * 33 + b"\r\n", 431),
    "two keys": (HANDSHAKE.replace(b"\r\n\r\n", f"\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()), 400),
    "short key": (HANDSHAKE.replace(KEY.encode(), b"c2hvcnQ="), 400),
    "key not base64": (HANDSHAKE.replace(KEY.encode(), b"?" * 24), 400),
    "no key": (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"), 400),
    "websocket version 8": (HANDSHAKE.replace(b"Version: 13", b"Version: 8"), 426),
    "no websocket version": (HANDSHAKE.replace(b"Sec-WebSocket-Version", b"X-Version"), 426),
    "upgrade in HTTP/1.0": (HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0"), 505),
    "upgrade with POST": (HANDSHAKE.replace(b"GET", b"POST"), 405),
    "upgrade with a body": (HANDSHAKE.replace(b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\nhello"), 400),
    "GET with a body": (GET + b"Content-Length: 5\r\n\r\nhello", 400),
    "GET with a huge body to come": (GET + b"Content-Length: 1000000000000\r\n\r\n", 400),
    "coding before chunked": (GET.replace(b"GET", b"POST") + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400),
    "coding not chunked": (GET.replace(b"GET", b"POST") + b"Transfer-Encoding: identity\r\n\r\n", 400),
    "coding twice": (GET.replace(b"GET", b"POST") + b"Transfer-Encoding: chunked\r\n" * 2 + b"\r\n0\r\n\r\n", 400),
    "GET with an endless body": (GET + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", 400),
    "GET that asks whether to send its body": (GET + b"Content-Length: 5\r\nExpect: 100-continue\r\n\r\n", 400),
    "HEAD with a body": (GET.replace(b"GET", b"HEAD") + b"Content-Length: 5\r\n\r\nhello", 400),
    "connect": (b"CONNECT evil:80 HTTP/1.1\r\nHost: evil\r\n\r\n", 405),
}


@pytest.mark.parametrize(("request_bytes", "status"), REFUSED.values(), ids=REFUSED.keys())
@both_parsers
def test_a_bad_request_is_refused_without_the_application(serving, application, calls, request_bytes, status):
    response = serving(application).request(request_bytes)

    assert response.startswith(b"HTTP/1.1 %d " % status), response
    assert b"\r\ncontent-type: text/plain; charset=utf-8\r\n" in response
    assert b"\r\nconnection: close\r\n" in response
    assert calls.empty()


@both_parsers
def test_a_target_of_20_kib_is_refused(serving, application, calls, http_protocol):
    response = serving(application).request(GET.replace(b" / ", b" /?" + b"x" * 20480 + b" ") + b"\r\n")

    assert response.startswith((b"HTTP/1.1 414 ", b"HTTP/1.1 431 "))
    assert calls.empty()


@both_parsers
def test_an_unsupported_version_is_answered_with_ours(serving, application):
    response = serving(application).request(REFUSED["websocket version 8"][0])

    assert b"\r\nsec-websocket-version: 13\r\n" in response
    assert b"\r\nupgrade: websocket\r\n" in response


@both_parsers
def test_128_headers_and_a_token_of_8192_bytes_are_served(serving, application, calls):
    with serving(application).connect() as sock:
        sock.sendall(GET.replace(b" / ", b" /?token=" + b"t" * 8192 + b" ") + b"X: y\r\n" * 127 + b"\r\n")

        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
    assert calls.get(timeout=WAIT_S)["query_string"] == b"token=" + b"t" * 8192


@both_parsers
def test_a_websocket_handshake_may_be_as_long_as_any_request(serving, application, calls):
    protocol = "Sec-WebSocket-Protocol: bearer." + "t" * 10923 + "\r\n"

    serving(application).request(handshake("/?" + "x" * 4000, extra=protocol))

    assert calls.get(timeout=WAIT_S)["subprotocols"] == ["bearer." + "t" * 10923]


@pytest.mark.parametrize(
    "parts", [b"", b"GE", GET, GET + b"X: y\r\n" * 3], ids=["nothing", "a word", "a line", "lines"]
)
@both_parsers
@both_loops
def test_a_client_that_does_not_finish_its_request_is_cut(serving, application, parts):
    with serving(application, handshake_timeout_s=0.3).connect() as sock:
        began_s = time.monotonic()
        sock.sendall(parts)

        assert read_to_end(sock) == b""

        assert 0.2 < time.monotonic() - began_s < 2


@both_parsers
def test_the_deadline_is_for_the_whole_head_and_not_for_each_byte(serving, application):
    with serving(application, handshake_timeout_s=0.4).connect() as sock:
        began_s = time.monotonic()
        send_drop_by_drop(sock, GET + b"X: y\r\n" * 1000)

        # All of it would take more than 20 s.
        assert time.monotonic() - began_s < 5


@both_parsers
def test_a_head_that_began_behind_another_request_has_a_deadline_too(serving, application):
    with serving(application, handshake_timeout_s=0.4, keep_alive_timeout_s=5).connect() as sock:
        sock.sendall(GET + b"\r\n" + GET)
        read_head(sock)
        began_s = time.monotonic()
        send_drop_by_drop(sock, b"X: y\r\n" * 1000)

        # All of it would take more than 100 s.
        assert time.monotonic() - began_s < 5


def test_empty_lines_before_a_request_do_not_renew_the_deadline(serving, application):
    with serving(application, handshake_timeout_s=0.4).connect() as sock:
        began_s = time.monotonic()
        send_drop_by_drop(sock, b"\r\n" * 1000)

        # All of it would take more than 20 s.
        assert time.monotonic() - began_s < 5


@both_parsers
def test_the_next_request_of_a_connection_has_a_deadline_of_its_own(serving, application):
    with serving(application, handshake_timeout_s=0.3, keep_alive_timeout_s=5).connect() as sock:
        for _ in range(3):
            threading.Event().wait(0.15)
            sock.sendall(GET + b"\r\n")
            assert read_head(sock).startswith(b"HTTP/1.1 200 ")
            assert sock.recv(2) == b"/ "
        began_s = time.monotonic()
        sock.sendall(GET)

        assert read_to_end(sock) == b""

        assert 0.2 < time.monotonic() - began_s < 2


@both_parsers
def test_a_connection_that_waits_too_long_between_requests_is_closed(serving, application):
    with serving(application, keep_alive_timeout_s=0.3).connect() as sock:
        sock.sendall(GET + b"\r\n")
        read_head(sock)

        assert read_to_end(sock) == b"/ "


@both_parsers
def test_a_slow_body_is_not_under_the_deadline_of_the_head(serving, application):
    with serving(application, handshake_timeout_s=0.1).connect() as sock:
        sock.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nConnection: close\r\n\r\n")
        for byte in b"body":
            threading.Event().wait(0.08)
            sock.sendall(bytes([byte]))

        assert read_to_end(sock).endswith(b"\r\n\r\n/p body")


@both_parsers
@both_loops
def test_a_refusal_arrives_though_the_client_is_still_sending(serving, application):
    with serving(application).connect() as sock:
        sent = threading.Thread(target=send_all_it_can, args=(sock, GET + b"X: " + b"y" * 2**22))
        sent.start()
        response = read_to_end(sock)
        sent.join()

    assert response.startswith(b"HTTP/1.1 431 ")


BODIES = {
    "huge": b"Content-Length: 1000000000000\r\n\r\n",
    "endless": b"Transfer-Encoding: chunked\r\n\r\n100000\r\n",
    "asks whether to send it": b"Content-Length: 1000000000000\r\nExpect: 100-continue\r\n\r\n",
}


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
@both_parsers
@both_loops
def test_a_body_that_nobody_wants_is_neither_asked_for_nor_waited_for(serving, body):
    async def refuse(scope, receive, send):
        await send({"type": "http.response.start", "status": 405, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"no"})

    with serving(refuse).connect() as sock:
        began_s = time.monotonic()
        sent = threading.Thread(target=send_all_it_can, args=(sock, GET.replace(b"GET", b"POST") + body + bytes(2**24)))
        sent.start()
        head, rest = read_head(sock), read_what_comes(sock)
        sent.join()

    assert head.startswith(b"HTTP/1.1 405 ")
    assert rest == b"no"
    # Lingering takes 2 s at most; without an end of its own it would go on for the head's 10 s.
    assert time.monotonic() - began_s < 6


@both_parsers
def test_a_get_request_may_say_that_it_has_no_body(serving, application):
    with serving(application).connect() as sock:
        sock.sendall(GET + b"Content-Length: 0\r\n\r\n")

        assert read_head(sock).startswith(b"HTTP/1.1 200 ")


@both_parsers
def test_a_client_that_is_asked_for_its_body_may_send_it(serving, application):
    with serving(application).connect() as sock:
        sock.sendall(GET.replace(b"GET", b"POST") + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n")
        assert read_head(sock).startswith(b"HTTP/1.1 100 ")
        sock.sendall(b"body")

        assert read_head(sock).startswith(b"HTTP/1.1 200 ")
        assert sock.recv(6) == b"/ body"


def read_what_comes(sock):
    """Return all bytes until the stream ends, in whatever way."""
    data = b""
    with contextlib.suppress(ConnectionError):
        while part := sock.recv(65536):
            data += part
    return data


def send_drop_by_drop(sock, data):
    with contextlib.suppress(ConnectionError):
        for byte in data:
            sock.sendall(bytes([byte]))
            threading.Event().wait(0.02)
        raise AssertionError("the server took it all")


def send_all_it_can(sock, data):
    with contextlib.suppress(ConnectionError):
        sock.sendall(data)


@both_parsers
@both_loops
def test_a_client_that_does_not_read_its_response_is_cut(serving):
    gone = queue.Queue()

    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(256):
            await send({"type": "http.response.body", "body": bytes(2**20), "more_body": True})
        await receive()
        gone.put((await receive())["type"])

    with serving(application, stall_timeout_s=0.2).connect() as sock:
        sock.sendall(GET + b"\r\n")

        assert gone.get(timeout=WAIT_S) == "http.disconnect"


@both_parsers
def test_pipelined_requests_are_answered_in_order(serving, application):
    requests = b"".join(GET.replace(b" / ", b" /%d " % number) + b"\r\n" for number in range(5))

    with serving(application, keep_alive_timeout_s=0.2).connect() as sock:
        sock.sendall(requests)
        response = read_to_end(sock)

    assert [response.find(b"/%d " % number) for number in range(5)] == sorted(
        response.find(b"/%d " % n) for n in range(5)
    )
    assert response.count(b"HTTP/1.1 200") == 5


@both_parsers
def test_an_upgrade_behind_a_request_that_is_under_way_does_not_get_into_its_answer(serving, application):
    with serving(application, keep_alive_timeout_s=0.2).connect() as sock:
        sock.sendall(GET + b"\r\n" + HANDSHAKE)
        try:
            response = read_to_end(sock)
        except ConnectionError:
            response = b""

    assert response == b"" or response.startswith(b"HTTP/1.1 200 ")


@both_parsers
def test_a_wish_for_http2_is_ignored_politely(serving, application):
    upgrade = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\n\r\n"

    with serving(application, keep_alive_timeout_s=0.2).connect() as sock:
        sock.sendall(GET + upgrade)
        response = read_to_end(sock)

    assert response.startswith(b"HTTP/1.1 200 ")
    assert response.endswith(b"\r\n\r\n/ ")


@both_parsers
def test_an_upgrade_may_stand_in_several_connection_headers(serving):
    request = HANDSHAKE.replace(b"Connection: Upgrade", b"Connection: keep-alive\r\nConnection: UPGRADE")

    @direct
    async def echo(channel, receive):
        channel.start(channel.send, lambda: None)
        await receive()

    with serving(echo).connect() as sock:
        sock.sendall(request + frame(BINARY, b"x"))

        assert read_head(sock).startswith(b"HTTP/1.1 101 ")
        assert sock.recv(3) == b"\x82\x01x"


@both_parsers
def test_no_header_names_the_software(serving, application):
    with serving(application).connect() as sock:
        sock.sendall(GET + b"\r\n")
        head = read_head(sock).lower()

    assert b"\r\nserver:" not in head
    assert b"\r\ndate: " in head


@both_parsers
def test_an_application_that_fails_gives_500_and_is_logged_once(serving, caplog):
    async def application(scope, receive, send):
        raise ZeroDivisionError

    with serving(application).connect() as sock:
        sock.sendall(GET + b"\r\n")

        assert read_head(sock).startswith(b"HTTP/1.1 500 ")
    errors = [record for record in caplog.records if record.levelname == "ERROR"]
    assert [record.exc_info[0] for record in errors] == [ZeroDivisionError]
