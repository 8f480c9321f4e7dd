"""Listening sockets: where, for whom, and what is said when it cannot be."""

import os
import socket
import stat
import threading

import pytest
from running_server import direct

from ws_subprocess.address import Inherited, Tcp, Unix
from ws_subprocess.server.settings import StartError
from ws_subprocess.server.sockets import open_listeners


@pytest.fixture
def listening():
    """Return a function that opens listeners until the test ends."""
    opened = []

    def start(*addresses, unix_mode=0o600):
        listeners = open_listeners(addresses, unix_mode)
        opened.extend(listeners)
        return listeners

    yield start
    for listener in opened:
        listener.close()


def test_port_0_becomes_the_port_that_the_kernel_chose(listening):
    (listener,) = listening(Tcp("127.0.0.1", 0))

    assert listener.address == Tcp("127.0.0.1", listener.sock.getsockname()[1])
    assert listener.address.port > 0


def test_a_name_is_listened_on_at_all_its_addresses_with_one_port(listening):
    listeners = listening(Tcp("localhost", 0))

    assert {listener.address.host for listener in listeners} <= {"127.0.0.1", "::1"}
    assert len({listener.address.port for listener in listeners}) == 1


def test_no_listening_socket_is_inherited_by_children(listening, tmp_path):
    for listener in listening(Tcp("127.0.0.1", 0), Unix(str(tmp_path / "s"))):
        assert not listener.sock.get_inheritable()


@pytest.mark.parametrize("inherited", [False, True], ids=["own", "inherited"])
def test_accepted_connections_have_nodelay(listening, inherited):
    if inherited:
        with socket.create_server(("127.0.0.1", 0)) as given:
            (listener,) = listening(Inherited(given.detach()))
    else:
        (listener,) = listening(Tcp("127.0.0.1", 0))

    with socket.create_connection((listener.address.host, listener.address.port)):
        listener.sock.setblocking(True)
        accepted, _ = listener.sock.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_everybody_in_ipv6_is_everybody_in_ipv4_too(listening):
    (listener,) = listening(Tcp("::", 0))

    with socket.create_connection(("127.0.0.1", listener.address.port)):
        pass


def test_both_wildcards_may_stand_beside_each_other(listening):
    (first,) = listening(Tcp("0.0.0.0", 0))

    listening_v6 = open_listeners((Tcp("::", first.address.port), Tcp("0.0.0.0", 0)), 0o600)

    for listener in listening_v6:
        listener.close()


@pytest.mark.parametrize("mode", [0o600, 0o660, 0o666])
def test_a_unix_socket_has_the_mode_asked_for(listening, tmp_path, mode):
    path = tmp_path / "s"

    listening(Unix(str(path)), unix_mode=mode)

    assert stat.S_IMODE(path.stat().st_mode) == mode


def test_the_umask_is_as_before(listening, tmp_path):
    before = os.umask(0o027)
    try:
        listening(Unix(str(tmp_path / "s")))
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)


def test_a_unix_socket_is_never_wider_than_its_mode(tmp_path):
    path, seen, stop = tmp_path / "s", set(), threading.Event()

    def watch():
        while not stop.is_set():
            try:
                seen.add(stat.S_IMODE(os.lstat(path).st_mode))
            except FileNotFoundError:
                continue

    watcher = threading.Thread(target=watch)
    watcher.start()
    for _ in range(300):
        for listener in open_listeners((Unix(str(path)),), 0o600):
            listener.close()
    stop.set()
    watcher.join()

    assert seen <= {0o600}


def test_closing_removes_the_socket_file(tmp_path):
    path = tmp_path / "s"
    (listener,) = open_listeners((Unix(str(path)),), 0o600)

    listener.close()
    listener.close()

    assert not path.exists()


def test_a_socket_file_that_somebody_else_made_since_is_left_alone(tmp_path):
    path = tmp_path / "s"
    (listener,) = open_listeners((Unix(str(path)),), 0o600)
    path.unlink()
    path.write_text("mine")

    listener.close()

    assert path.read_text() == "mine"


def test_a_port_in_use_is_told(listening):
    (listener,) = listening(Tcp("127.0.0.1", 0))

    with pytest.raises(
        StartError, match=rf"^cannot listen on 127\.0\.0\.1:{listener.address.port}: another process listens there"
    ):
        listening(listener.address)


def test_a_unix_socket_in_use_is_told_and_left_alone(listening, tmp_path):
    path = str(tmp_path / "s")
    listening(Unix(path))

    with pytest.raises(StartError, match=f"^cannot listen on unix:{path}: another process listens there"):
        listening(Unix(path))

    with socket.socket(socket.AF_UNIX) as client:
        client.connect(path)


def test_a_file_that_is_no_socket_is_left_alone(listening, tmp_path):
    path = tmp_path / "precious"
    path.write_text("data")

    with pytest.raises(StartError, match="is no socket; remove it or choose another path"):
        listening(Unix(str(path)))

    assert path.read_text() == "data"


@pytest.mark.parametrize(
    ("address", "why"),
    [
        (Tcp("192.0.2.1", 0), "this machine does not have that address"),
        (Tcp("no-such-host.invalid", 0), "'no-such-host.invalid' has no address"),
        (Unix("/no/such/directory/s"), "its directory does not exist"),
        (Inherited(999), "descriptor 999 is no open socket"),
    ],
)
def test_why_it_cannot_be_listened_on_is_told(listening, address, why):
    with pytest.raises(StartError, match=f"^cannot listen on {address}: {why}"):
        listening(address)


def test_a_socket_that_does_not_listen_is_refused_and_stays_open(listening):
    with socket.socket() as idle:
        fd = os.dup(idle.fileno())

        with pytest.raises(StartError, match="does not listen; call listen\\(2\\) before"):
            listening(Inherited(fd))


def test_when_one_of_several_fails_none_listens(tmp_path):
    path = tmp_path / "s"

    with pytest.raises(StartError):
        open_listeners((Unix(str(path)), Tcp("192.0.2.1", 0)), 0o600)

    assert not path.exists()


def test_a_websocket_works_over_a_unix_socket(serving, tmp_path):
    @direct
    async def echo(channel, receive):
        channel.start(channel.send, lambda: None)
        await receive()

    server = serving(echo, addresses=(Unix(str(tmp_path / "s")),))
    with server.upgrade() as client:
        client.send(2, b"through the file system")
        assert client.read() == (2, b"through the file system")


def test_several_addresses_are_served_at_once(serving, tmp_path):
    async def application(scope, receive, send):
        pass

    server = serving(application, addresses=(Tcp("127.0.0.1", 0), Unix(str(tmp_path / "s"))))

    assert [url.partition(":")[0] for url in server.urls] == ["http", "unix"]
