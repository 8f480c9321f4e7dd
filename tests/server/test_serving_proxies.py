"""Who the client is when somebody stands between."""

import queue

import pytest
from running_server import WAIT_S, handshake, read_head

from ws_subprocess.address import Unix
from ws_subprocess.server.proxies import TrustedProxies
from ws_subprocess.server.settings import StartError

FOR = "X-Forwarded-For: "
PROTO = "X-Forwarded-Proto: "


@pytest.fixture
def seen():
    return queue.Queue()


@pytest.fixture
def application(seen):
    async def tell(scope, receive, send):
        seen.put((scope["client"] and scope["client"][0], scope["scheme"]))

    return tell


def ask(server, *lines):
    server.request(handshake(extra="".join(f"{line}\r\n" for line in lines)))


def test_without_trusted_proxies_nobody_is_believed(serving, application, seen):
    ask(serving(application), FOR + "1.2.3.4", PROTO + "https")

    assert seen.get(timeout=WAIT_S) == ("127.0.0.1", "ws")


def test_another_peer_than_the_trusted_proxy_is_not_believed(serving, application, seen):
    ask(serving(application, trusted_proxies=("10.0.0.0/8",)), FOR + "1.2.3.4", PROTO + "https")

    assert seen.get(timeout=WAIT_S) == ("127.0.0.1", "ws")


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([FOR + "1.2.3.4"], "1.2.3.4"),
        ([FOR + "6.6.6.6, 1.2.3.4, 10.1.1.1"], "1.2.3.4"),
        ([FOR + "6.6.6.6", FOR + "1.2.3.4", FOR + "10.1.1.1"], "1.2.3.4"),
        ([FOR + "1.2.3.4:5678"], "1.2.3.4"),
        ([FOR + "[2001:db8::1]:5678"], "2001:db8::1"),
        ([FOR + "::ffff:1.2.3.4"], "1.2.3.4"),
        ([FOR + "10.2.2.2, 10.1.1.1"], "10.2.2.2"),
        ([FOR + "1.2.3.4, rubbish"], "127.0.0.1"),
        ([FOR + "rubbish, 10.1.1.1"], "10.1.1.1"),
        ([FOR + ""], "127.0.0.1"),
        ([], "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_that_no_trusted_proxy_vouches_for(serving, application, seen, lines, client):
    ask(serving(application, trusted_proxies=("127.0.0.0/8", "10.0.0.0/8")), *lines)

    assert seen.get(timeout=WAIT_S) == (client, "ws")


@pytest.mark.parametrize(
    ("proto", "scheme"), [("https", "wss"), ("WSS", "wss"), ("http", "ws"), ("http, https", "wss"), ("gopher", "ws")]
)
def test_a_trusted_proxy_tells_the_scheme(serving, application, seen, proto, scheme):
    ask(serving(application, trusted_proxies=("127.0.0.1",)), PROTO + proto)

    assert seen.get(timeout=WAIT_S)[1] == scheme


def test_http_gets_an_http_scheme(serving, seen):
    async def application(scope, receive, send):
        seen.put((scope["client"][0], scope["scheme"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    with serving(application, trusted_proxies=("127.0.0.1",)).connect() as sock:
        sock.sendall(f"GET / HTTP/1.1\r\nHost: a\r\n{FOR}1.2.3.4\r\n{PROTO}https\r\n\r\n".encode())
        read_head(sock)

    assert seen.get(timeout=WAIT_S) == ("1.2.3.4", "https")


@pytest.mark.parametrize(("trusted", "client"), [((), None), (("127.0.0.1",), None), (("unix",), "1.2.3.4")])
def test_whoever_comes_through_a_unix_socket_is_believed_only_when_trusted(
    serving, application, seen, tmp_path, trusted, client
):
    server = serving(application, addresses=(Unix(str(tmp_path / "s")),), trusted_proxies=trusted)

    ask(server, FOR + "1.2.3.4")

    assert seen.get(timeout=WAIT_S)[0] == client


@pytest.mark.parametrize("text", ["10.0.0.1/8", "proxy.example", "*", ""])
def test_what_is_no_network_is_told(text):
    with pytest.raises(StartError, match=r"is no network .*; write 10\.0\.0\.0/8, ::1 or unix"):
        TrustedProxies(lambda *_: None, (text,))
