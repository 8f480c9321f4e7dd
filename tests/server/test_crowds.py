"""Too many clients that wait: some are cut, nobody who asks for something is, and descriptors remain for sessions."""

import asyncio
import contextlib
import queue
import select
import ssl
import subprocess
import threading
import time

import pytest
from echoes import direct_echo
from observing import list_descriptors
from running_server import BINARY, LOOPBACK, WAIT_S, both_loops, both_parsers, handshake, read_head

from ws_subprocess.address import Tcp, Unix
from ws_subprocess.server.acceptor import Acceptor, Entrance
from ws_subprocess.server.doorkeeper import Doorkeeper
from ws_subprocess.server.sockets import open_listeners
from ws_subprocess.server.spares import Spares

GET = b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


async def answering(scope, receive, send):
    """Answer every request, and keep every websocket."""
    if scope["type"] == "websocket":
        await direct_echo(scope, receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


@contextlib.contextmanager
def crowd(server, count, data=b""):
    """That many connections, each of which has sent `data`."""
    with contextlib.ExitStack() as stack:
        socks = []
        for _ in range(count):
            socks.append(stack.enter_context(server.connect()))
            socks[-1].sendall(data)
        yield socks


def count_open(socks):
    """Return how many the server has not cut."""
    return len(socks) - count_ready(socks, select.POLLRDHUP)


def count_ready(socks, events):
    poll = select.poll()
    for sock in socks:
        poll.register(sock, events)
    return len(poll.poll(0))


def wait_until(condition):
    ends_at_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < ends_at_s


def wait_until_open(socks, most):
    wait_until(lambda: count_open(socks) <= most)


def count_sockets():
    return sum(path.startswith("socket:") for path in list_descriptors().values())


def ask(server):
    with server.connect() as sock:
        sock.sendall(GET)
        return read_head(sock)


@both_parsers
@both_loops
@pytest.mark.parametrize("data", [b"", GET[:-2]], ids=["silent", "in the middle of a head"])
def test_clients_that_ask_for_nothing_are_cut_and_those_that_ask_are_not(serving, data):
    server = serving(answering, max_waiting=16)

    with server.upgrade() as session, crowd(server, 60, data) as silent:
        wait_until_open(silent, 16)

        for _ in range(5):
            assert ask(server).startswith(b"HTTP/1.1 200 ")
        session.send(BINARY, b"still here")
        assert session.read() == (BINARY, b"still here")
        assert count_open(silent) > 0


@both_parsers
@both_loops
def test_who_was_answered_and_asks_for_nothing_more_waits_like_any_other(serving):
    server = serving(answering, max_waiting=16, keep_alive_timeout_s=WAIT_S)

    with crowd(server, 60, GET) as answered:
        wait_until_open(answered, 16)
        wait_until(lambda: count_ready(answered, select.POLLIN) == 60)

        assert ask(server).startswith(b"HTTP/1.1 200 ")


@both_parsers
@both_loops
def test_who_takes_nothing_of_an_answer_waits_like_any_other(serving):
    asked, gone = queue.Queue(), queue.Queue()

    async def endless(scope, receive, send):
        asked.put(scope)
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.qsize():
            await send({"type": "http.response.body", "body": bytes(2**18), "more_body": True})
            await asyncio.sleep(0)

    server = serving(endless, max_waiting=16)
    with contextlib.ExitStack() as stack:
        stack.callback(gone.put, "end")
        stack.enter_context(crowd(server, 40, GET))
        served = server.server.server_state.connections

        # Some may be cut before they have asked.
        wait_until(lambda: asked.qsize() > 16 and len(served) <= 16)


@both_parsers
def test_a_refused_client_that_does_not_leave_waits_like_any_other(serving):
    async def refusing(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})

    server = serving(refusing, max_waiting=16)
    served = server.server.server_state.connections
    with contextlib.ExitStack() as stack:
        for _ in range(60):
            sock = stack.enter_context(server.connect())
            sock.sendall(handshake())
            assert read_head(sock).startswith(b"HTTP/1.1 403 ")

        assert len(served) <= 20


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A certificate that signs itself, and its key, in one file."""
    path = tmp_path_factory.mktemp("pem") / "both.pem"
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    command = ["openssl", "req", "-x509", *key, "-subj", "/CN=127.0.0.1", "-keyout", path, "-out", path]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return str(path)


def trust(pem):
    context = ssl.create_default_context(cafile=pem)
    context.check_hostname = False
    return context


@both_loops
def test_tls_handshakes_that_do_not_go_on_are_cut_too(serving, pem):
    server = serving(answering, max_waiting=16, tls_cert=pem)

    with crowd(server, 60) as silent:
        wait_until_open(silent, 16)

        with trust(pem).wrap_socket(server.connect()) as sock:
            sock.sendall(GET)
            assert sock.recv(12) == b"HTTP/1.1 200"


@both_loops
def test_a_tls_handshake_that_fails_leaves_no_seat_behind(serving, pem):
    server = serving(answering, tls_cert=pem)

    with crowd(server, 20, b"this is no TLS\r\n\r\n") as clients:
        wait_until_open(clients, 0)

        wait_until(lambda: not len(server.server._entrance.doorkeeper._room))


@both_loops
@both_parsers
def test_a_tls_handshake_and_the_head_behind_it_have_one_deadline(serving, pem):
    server = serving(answering, handshake_timeout_s=0.8, tls_cert=pem)

    with server.connect() as raw:
        began_s = time.monotonic()
        threading.Event().wait(0.5)
        with trust(pem).wrap_socket(raw) as sock:
            sock.sendall(GET[:-2])
            with contextlib.suppress(ConnectionError, ssl.SSLError):
                assert sock.recv(1) == b""

            # Two deadlines would be 1.3 s.
            assert 0.7 < time.monotonic() - began_s < 1.2


def test_a_flood_is_a_line_in_the_log_and_not_one_for_each(serving, caplog):
    server = serving(answering, max_waiting=16)

    with crowd(server, 100) as silent:
        wait_until_open(silent, 16)
        server.stop()
        server.thread.join(WAIT_S)

    lines = [record for record in caplog.records if record.message == "connections cut: too many wait"]
    assert [record.levelname for record in lines] == ["WARNING", "WARNING"]
    assert 84 <= sum(record.cut for record in lines) < 100


class Door:
    """An acceptor on sockets of its own, whose clients count by the address they come from; 127.0.0.9 by none."""

    def __init__(self, *addresses, max_waiting=1000, max_per_address=1000):
        self.listeners = open_listeners(addresses, 0o600)
        self.spares = Spares()
        doorkeeper = Doorkeeper(max_waiting, max_per_address, lambda host: None if host == "127.0.0.9" else host)
        entrance = Entrance(lambda seat: asyncio.Protocol(), None, WAIT_S, set(), doorkeeper, self.spares)
        self.acceptors = [Acceptor(listener.sock, entrance) for listener in self.listeners]
        self.doorkeeper = doorkeeper

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for acceptor, listener in zip(self.acceptors, self.listeners, strict=True):
            acceptor.stop()
            listener.close()
        self.spares.close()
        self.doorkeeper.close()

    async def connect(self, host):
        _, port = self.listeners[0].sock.getsockname()
        return await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))


async def count_cut(streams):
    """Return how many of these connections were cut."""
    done, pending = await asyncio.wait([asyncio.ensure_future(reader.read(1)) for reader, _ in streams], timeout=0.3)
    for task in pending:
        task.cancel()
    await asyncio.wait(pending) if pending else None
    return len(done)


async def close_all(streams):
    for _, writer in streams:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


@pytest.mark.parametrize(("crowded", "cut_least"), [("127.0.0.2", 15), ("127.0.0.9", 0)])
async def test_each_address_has_its_share_but_those_that_are_many(crowded, cut_least):
    with Door(LOOPBACK, max_per_address=5) as door:
        strangers = [await door.connect("127.0.0.3") for _ in range(3)]
        streams = [await door.connect(crowded) for _ in range(20)]

        assert await count_cut(strangers) == 0
        assert (cut_least and 20) >= await count_cut(streams) >= cut_least
        await close_all(strangers + streams)


async def test_clients_of_a_unix_socket_have_no_address_but_count(tmp_path):
    with Door(Unix(str(tmp_path / "s")), max_waiting=10, max_per_address=1) as door:
        path = door.listeners[0].sock.getsockname()
        streams = [await asyncio.open_unix_connection(path) for _ in range(6)]
        assert await count_cut(streams) == 0

        streams += [await asyncio.open_unix_connection(path) for _ in range(14)]

        assert await count_cut(streams) >= 10
        await close_all(streams)


def test_both_families_of_this_machine_may_be_a_proxy(serving):
    server = serving(answering, max_waiting_per_address=1, addresses=(Tcp("127.0.0.1", 0),))

    with crowd(server, 50) as silent:
        assert ask(server).startswith(b"HTTP/1.1 200 ")
        assert count_open(silent) == 50


def test_a_connection_that_was_cut_leaves_no_descriptor(serving):
    server = serving(answering, max_waiting=16)
    before = count_sockets()

    with crowd(server, 100) as silent:
        wait_until_open(silent, 16)

        wait_until(lambda: count_sockets() - len(silent) - before <= 16)
        assert len(server.server.server_state.connections) <= 16
