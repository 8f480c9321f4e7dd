"""How a websocket ends: Close handshakes, refusals, applications that fail."""

import asyncio
import logging
import queue
import threading
import time

import pytest
from running_server import BINARY, CLOSE, WAIT_S, both_loops, both_parsers, direct, frame, handshake, read_to_end
from websockets.exceptions import InvalidStatus


def errors(caplog):
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


def answering(*messages):
    """Return an application that answers the handshake with `messages`."""

    async def application(scope, receive, send):
        await receive()
        for message in messages:
            await send(message)

    return application


def until(condition):
    ends_at_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends_at_s
        threading.Event().wait(0.01)


def wait_until_lost(server):
    """Return once the server has no connection left."""
    until(lambda: not server.server.server_state.connections)


ACCEPT = {"type": "websocket.accept"}


@both_loops
def test_the_tail_of_the_output_survives_unread_input(serving):
    tail = bytes(range(256)) * 8192

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        await send({"type": "websocket.send", "bytes": tail})
        await send({"type": "websocket.close"})

    with serving(application).upgrade() as client:
        client.sock.sendall(frame(BINARY, bytes(65536)) * 30)

        assert client.read() == (BINARY, tail)
        assert client.read_close() == (1000, "")
        client.send(CLOSE, b"\x03\xe8")
        assert client.sock.recv(1) == b""


@both_loops
def test_tcp_stays_up_until_the_peer_has_closed_too(serving):
    with serving(answering(ACCEPT, {"type": "websocket.close", "code": 4001, "reason": "enough"})).upgrade() as client:
        assert client.read_close() == (4001, "enough")
        client.sock.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.sock.recv(1)

        client.send(CLOSE, b"\x0f\xa1")

        client.sock.settimeout(WAIT_S)
        assert client.sock.recv(1) == b""


@both_loops
def test_a_peer_that_never_closes_is_cut_after_the_close_timeout(serving):
    server = serving(answering(ACCEPT, {"type": "websocket.close"}), close_timeout_s=0.3)

    with server.upgrade() as client:
        client.read_close()
        began_s = time.monotonic()

        assert client.sock.recv(1) == b""

        assert 0.2 < time.monotonic() - began_s < 2
    wait_until_lost(server)


def test_a_peer_that_takes_nothing_is_cut_after_the_close_timeout(serving):
    messages = [{"type": "websocket.send", "bytes": bytes(2**23)}, {"type": "websocket.close"}]
    server = serving(answering(ACCEPT, *messages), close_timeout_s=0.3)

    with server.upgrade():
        wait_until_lost(server)


def test_a_slow_peer_gets_all_of_the_tail_after_close(serving):
    tail_bytes = 3 * 2**24
    messages = [{"type": "websocket.send", "bytes": bytes(tail_bytes)}, {"type": "websocket.close"}]
    server = serving(answering(ACCEPT, *messages), close_timeout_s=0.6)

    with server.upgrade() as client:
        began_s = time.monotonic()
        # More than half of what waits in the first close timeout, the rest after it. The kernel holds some MiB of it.
        left_bytes = take(client, tail_bytes, until_left=tail_bytes // 3)
        threading.Event().wait(began_s + 0.8 - time.monotonic())

        assert take(client, left_bytes, until_left=0) <= 0


def take(client, left_bytes, until_left):
    """Read until no more than `until_left` is left; return what is."""
    while left_bytes > until_left:
        part = client.sock.recv(2**18)
        assert part, f"{left_bytes} bytes never came"
        left_bytes -= len(part)
    return left_bytes


def test_data_after_our_close_is_discarded(serving):
    seen = queue.Queue()

    @direct
    async def application(channel, receive):
        def on_message(message):
            seen.put(message)
            channel.close(1000)

        channel.start(on_message, lambda: None)
        seen.put((await receive())["code"])

    with serving(application).upgrade() as client:
        client.sock.sendall(frame(BINARY, b"first") + frame(BINARY, b"second"))
        client.read_close()
        client.sock.sendall(frame(BINARY, b"third") + frame(CLOSE))
        assert client.sock.recv(1) == b""

    assert [seen.get(timeout=WAIT_S), seen.get(timeout=WAIT_S)] == [b"first", 1000]
    assert seen.empty()


def test_an_application_that_returns_closes_with_1000(serving, caplog):
    with serving(answering(ACCEPT)).upgrade() as client:
        assert client.read_close() == (1000, "")
    assert not errors(caplog)


@both_loops
def test_an_application_that_fails_closes_with_1011_and_is_logged_once(serving, caplog):
    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        raise ZeroDivisionError

    with serving(application).upgrade() as client:
        assert client.read_close() == (1011, "Internal error")
    assert [record.exc_info[0] for record in errors(caplog)] == [ZeroDivisionError]


def test_an_application_that_fails_before_it_answers_gives_500(serving, caplog):
    async def application(scope, receive, send):
        raise ZeroDivisionError

    response = serving(application).request(handshake())

    assert response.startswith(b"HTTP/1.1 500 Internal Server Error\r\n")
    assert response.endswith(b"\r\n\r\nInternal error")
    assert [record.exc_info[0] for record in errors(caplog)] == [ZeroDivisionError]


def test_an_application_that_never_answers_gives_500(serving, caplog):
    response = serving(answering()).request(handshake())

    assert response.startswith(b"HTTP/1.1 500 ")
    assert [record.message for record in errors(caplog)] == ["application returned without an answer to the handshake"]


@both_loops
def test_a_refusal_keeps_its_headers_and_body_and_logs_no_error(serving, caplog):
    headers = [
        (b"content-type", b"application/problem+json"),
        (b"retry-after", b"5"),
        (b"x-two", b"1"),
        (b"x-two", b"2"),
    ]
    refusal = (
        {"type": "websocket.http.response.start", "status": 503, "headers": headers},
        {"type": "websocket.http.response.body", "body": b'{"code": ', "more_body": True},
        {"type": "websocket.http.response.body", "body": b'"draining"}'},
    )

    with pytest.raises(InvalidStatus) as caught, serving(answering(*refusal)).client():
        pass

    response = caught.value.response
    assert (response.status_code, response.body) == (503, b'{"code": "draining"}')
    assert response.headers["Content-Type"] == "application/problem+json"
    assert response.headers["Retry-After"] == "5"
    assert response.headers.get_all("X-Two") == ["1", "2"]
    assert not errors(caplog)


@both_loops
def test_a_refusal_arrives_though_frames_follow_the_handshake(serving):
    refusal = (
        {"type": "websocket.http.response.start", "status": 403, "headers": []},
        {"type": "websocket.http.response.body", "body": b"Invalid token"},
    )

    with serving(answering(*refusal)).connect() as sock:
        sock.sendall(handshake() + frame(BINARY, bytes(2**20)))
        response = read_to_end(sock)

    assert response.startswith(b"HTTP/1.1 403 Forbidden\r\n")
    assert response.endswith(b"\r\n\r\nInvalid token")


def test_closing_an_unanswered_handshake_is_403(serving, caplog):
    response = serving(answering({"type": "websocket.close"})).request(handshake())

    assert response.startswith(b"HTTP/1.1 403 ")
    assert not errors(caplog)


@both_loops
def test_a_client_that_leaves_before_the_answer_is_noticed(serving, caplog):
    seen = queue.Queue()

    async def application(scope, receive, send):
        seen.put((await receive())["type"])
        seen.put((await receive())["code"])
        await send(ACCEPT)

    with serving(application).connect() as sock:
        sock.sendall(handshake())
        assert seen.get(timeout=WAIT_S) == "websocket.connect"

    assert seen.get(timeout=WAIT_S) == 1006
    assert not errors(caplog)


def test_a_client_that_sends_much_before_the_answer_waits_and_is_noticed_when_it_leaves(serving):
    seen = queue.Queue()

    async def application(scope, receive, send):
        await receive()
        seen.put((await receive())["code"])

    with serving(application).connect() as sock:
        sock.sendall(handshake() + frame(BINARY, bytes(2**17)))

    assert seen.get(timeout=WAIT_S) == 1006


ANSWER = {"type": "websocket.http.response.start", "status": 403, "headers": []}
MESSAGE = {"type": "websocket.send", "text": "hello"}


@pytest.mark.parametrize("messages", [[MESSAGE], [ANSWER, ACCEPT]], ids=["message first", "answer twice"])
def test_an_answer_that_makes_no_sense_gives_500(serving, messages, caplog):
    response = serving(answering(*messages)).request(handshake())

    assert response.startswith(b"HTTP/1.1 500 ")
    assert [record.exc_info[0] for record in errors(caplog)] == [RuntimeError]


def test_a_message_that_makes_no_sense_closes_with_1011(serving, caplog):
    with serving(answering(ACCEPT, ACCEPT)).upgrade() as client:
        assert client.read_close()[0] == 1011
    assert [record.exc_info[0] for record in errors(caplog)] == [RuntimeError]


def test_sending_to_a_client_that_left_is_no_error_of_the_application(serving, caplog):
    ended = queue.Queue()

    async def application(scope, receive, send):
        await receive()
        await send(ACCEPT)
        await receive()
        try:
            await send(MESSAGE)
        except OSError as exc:
            ended.put(exc)
            raise

    with serving(application).upgrade():
        pass

    assert isinstance(ended.get(timeout=WAIT_S), OSError)
    assert not errors(caplog)


async def forever(scope, receive, send):
    """Answers nothing and heeds nothing."""
    await asyncio.Event().wait()


async def forever_open(scope, receive, send):
    await receive()
    await send(ACCEPT)
    await asyncio.Event().wait()


@both_loops
def test_a_handshake_that_is_open_when_the_server_ends_is_answered_503(serving):
    server = serving(forever)
    with server.connect() as sock:
        sock.sendall(handshake())
        until(lambda: server.server.server_state.tasks)

        server.stop()

        assert read_to_end(sock).startswith(b"HTTP/1.1 503 ")


@both_parsers
@pytest.mark.parametrize(
    "sent", [b"", b"GET / HTTP/1.1\r\n", b"rubbish\r\n\r\n"], ids=["nothing", "half a request", "rubbish"]
)
def test_a_connection_without_a_request_does_not_keep_the_server(serving, sent):
    server = serving(forever)
    with server.connect() as sock:
        sock.sendall(sent)
        until(lambda: server.server.server_state.connections)
        if sent.startswith(b"rubbish"):
            assert sock.recv(9) == b"HTTP/1.1 "

        server.stop()

        until(lambda: not server.thread.is_alive())


def test_an_application_that_heeds_nothing_does_not_keep_the_server(serving, caplog):
    server = serving(forever_open, close_timeout_s=0.2)
    with server.upgrade() as client:
        server.stop()

        assert client.read_close() == (1012, "service restart")
        until(lambda: not server.thread.is_alive())
    assert not errors(caplog)


def test_headers_and_subprotocol_of_the_application_are_in_the_answer(serving):
    accept = {"type": "websocket.accept", "subprotocol": "v1", "headers": [(b"x-session", b"7"), (b"x-session", b"8")]}

    with serving(answering(accept)).upgrade(extra="Sec-WebSocket-Protocol: v2, v1\r\n") as client:
        assert b"\r\nSec-WebSocket-Protocol: v1\r\n" in client.head
        assert b"\r\nx-session: 7\r\nx-session: 8\r\n" in client.head
        assert b"\r\nserver:" not in client.head.lower()


def test_a_line_break_in_a_header_is_an_error_of_the_application(serving, caplog):
    accept = {"type": "websocket.accept", "headers": [(b"x-name", b"a\r\nset-cookie: b")]}

    response = serving(answering(accept)).request(handshake())

    assert response.startswith(b"HTTP/1.1 500 ")
    assert b"cookie" not in response
    assert len(errors(caplog)) == 1


def test_the_scope_is_what_asgi_says(serving):
    scopes = queue.Queue()

    async def application(scope, receive, send):
        scopes.put(scope)

    server = serving(application)
    server.request(handshake("/a%20b/%C3%A9?x=%20&y", extra="Sec-WebSocket-Protocol: v2 , v1\r\n"))

    scope = scopes.get(timeout=WAIT_S)
    assert (scope["type"], scope["scheme"], scope["http_version"]) == ("websocket", "ws", "1.1")
    assert (scope["path"], scope["raw_path"], scope["query_string"]) == ("/a b/\u00e9", b"/a%20b/%C3%A9", b"x=%20&y")
    assert (scope["subprotocols"], scope["root_path"]) == (["v2", "v1"], "")
    assert scope["server"] == server.address
    assert scope["client"][0] == "127.0.0.1"
    assert (b"host", b"127.0.0.1") in scope["headers"]
    assert "websocket.http.response" in scope["extensions"]


def test_an_unreadable_subprotocol_header_is_refused_without_the_application(serving):
    calls = queue.Queue()

    async def application(scope, receive, send):
        calls.put(scope)

    response = serving(application).request(handshake(extra="Sec-WebSocket-Protocol: a b\r\n"))

    assert response.startswith(b"HTTP/1.1 400 ")
    assert calls.empty()
