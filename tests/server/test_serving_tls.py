"""TLS: what is offered, and what is said when files are no good."""

import ssl
import subprocess

import pytest
from running_server import WAIT_S, both_loops, direct

from ws_subprocess.server.settings import StartError
from ws_subprocess.server.tls import build_context


@pytest.fixture(scope="module")
def pem(tmp_path_factory):
    """A certificate for 127.0.0.1 that signs itself, its key, another key, and the key under a password."""
    folder = tmp_path_factory.mktemp("pem")

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True, timeout=60)

    new_key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
    subject = ("-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2")
    openssl("req", "-x509", *new_key, "-keyout", "key.pem", "-out", "cert.pem", *subject)
    openssl("req", "-x509", *new_key, "-keyout", "other.pem", "-out", "other-cert.pem", *subject)
    openssl("ec", "-in", "key.pem", "-aes256", "-passout", "pass:x", "-out", "locked.pem")
    (folder / "both.pem").write_bytes((folder / "key.pem").read_bytes() + (folder / "cert.pem").read_bytes())
    (folder / "empty.pem").write_bytes(b"")
    return folder


@direct
async def echo(channel, receive):
    channel.start(channel.send, lambda: None)
    await receive()


def client_context(pem):
    return ssl.create_default_context(cafile=str(pem / "cert.pem"))


@both_loops
def test_a_websocket_works_over_tls(serving, pem):
    server = serving(echo, tls_cert=str(pem / "cert.pem"), tls_key=str(pem / "key.pem"))
    assert server.urls[0].startswith("https://127.0.0.1:")

    with server.client(ssl=client_context(pem), compression=None) as client:
        for message in (b"x", bytes(2**20), "text"):
            client.send(message)
            assert client.recv(WAIT_S) == message


@both_loops
def test_the_tail_of_the_output_arrives_over_tls(serving, pem):
    tail = bytes(range(256)) * 4096

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "bytes": tail})
        await send({"type": "websocket.close"})

    server = serving(application, tls_cert=str(pem / "both.pem"))

    with server.client(ssl=client_context(pem)) as client:
        assert client.recv(WAIT_S) == tail
        with pytest.raises(Exception, match="1000"):
            client.recv(WAIT_S)


def test_nothing_older_than_tls_1_2_is_spoken(serving, pem):
    server = serving(echo, tls_cert=str(pem / "cert.pem"), tls_key=str(pem / "key.pem"))
    context = client_context(pem)
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1_1"):
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1

    with server.connect() as sock, pytest.raises(ssl.SSLError):
        context.wrap_socket(sock, server_hostname="127.0.0.1")


@both_loops
def test_a_client_that_speaks_no_tls_is_cut_and_others_are_served(serving, pem, caplog):
    server = serving(echo, tls_cert=str(pem / "cert.pem"), tls_key=str(pem / "key.pem"), handshake_timeout_s=0.3)

    with server.connect() as silent, server.connect() as rude:
        rude.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * 10)
        for sock in (silent, rude):
            try:
                while sock.recv(4096):
                    pass
            except ConnectionError:
                pass
    with server.client(ssl=client_context(pem)) as client:
        client.send("still here")
        assert client.recv(WAIT_S) == "still here"
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


@pytest.mark.parametrize(
    ("cert", "key", "why"),
    [
        ("missing.pem", "key.pem", "missing.pem: No such file or directory"),
        ("cert.pem", "missing.pem", "missing.pem: No such file or directory"),
        ("cert.pem", "other.pem", "are no certificate and its key in PEM"),
        ("empty.pem", "key.pem", "are no certificate and its key in PEM"),
        ("cert.pem", None, "are no certificate and its key in PEM"),
        ("cert.pem", "locked.pem", "locked.pem is encrypted; give one that is not"),
    ],
)
def test_files_that_cannot_be_used_are_told(pem, cert, key, why):
    with pytest.raises(StartError, match=why):
        build_context(str(pem / cert), key and str(pem / key))
