"""Addresses to listen on, as people write them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.address import Inherited, Tcp, Unix, format_url, group_address, is_local, parse_listen


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8866", Tcp("127.0.0.1", 8866)),
        ("127.0.0.1:0", Tcp("127.0.0.1", 0)),
        ("localhost:65535", Tcp("localhost", 65535)),
        ("my-host.example_1.org:80", Tcp("my-host.example_1.org", 80)),
        ("[::1]:8866", Tcp("::1", 8866)),
        ("[::]:8866", Tcp("::", 8866)),
        ("[fe80::1%eth0]:80", Tcp("fe80::1%eth0", 80)),
        ("unix:/run/ws.sock", Unix("/run/ws.sock")),
        ("unix:/run/a:b.sock", Unix("/run/a:b.sock")),
        ("fd:3", Inherited(3)),
        ("systemd", Inherited(None)),
    ],
)
def test_every_form_is_understood_and_written_back_as_it_was(text, address):
    assert parse_listen(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("", "use HOST:PORT"),
        ("8866", "use HOST:PORT"),
        ("localhost", "use HOST:PORT"),
        ("127.0.0.1:99999", "port '99999' is not in 0..65535"),
        ("127.0.0.1:65536", "port '65536' is not in 0..65535"),
        ("127.0.0.1:-1", "port '-1' is not in 0..65535"),
        ("127.0.0.1:", "port '' is not in 0..65535"),
        ("127.0.0.1:8o", "port '8o' is not in 0..65535"),
        ("127.0.0.1: 80", "port ' 80' is not in 0..65535"),
        ("127.0.0.1:\u0668", "is not in 0..65535"),
        (":8866", "write 127.0.0.1:8866 for this machine only"),
        (":abc", "names no host"),
        ("[::1", "bracket is not closed"),
        ("[::1]", r"names no port; write \[::1\]:8866"),
        ("::1:8866", "an IPv6 address needs brackets"),
        ("[127.0.0.1]:80", "'127.0.0.1' is no IPv6 address"),
        ("[]:80", "'' is no IPv6 address"),
        ("http://127.0.0.1:80", "needs brackets"),
        ("a b:80", "is no host name or IP address"),
        ("-a:80", "is no host name or IP address"),
        ("*:80", "is no host name or IP address"),
        ("unix:run/ws.sock", "needs the absolute path"),
        ("unix:", "needs the absolute path"),
        ("unix:/run/", "needs the absolute path"),
        ("unix:/a\0b", "needs the absolute path"),
        ("unix:/" + "x" * 107, "at most 107 bytes"),
        ("fd:", "the number of an open descriptor"),
        ("fd:2", "3 or more"),
        ("fd:-3", "the number of an open descriptor"),
        ("fd:x", "the number of an open descriptor"),
        ("fd:" + "9" * 10, "the number of an open descriptor"),
    ],
)
def test_what_is_no_address_is_told_with_the_way_out(text, hint):
    with pytest.raises(ValueError, match=hint) as caught:
        parse_listen(text)

    assert repr(text) in str(caught.value)


@given(st.text())
def test_any_text_is_an_address_or_a_clear_error(text):
    try:
        address = parse_listen(text)
    except ValueError as exc:
        message = str(exc)
        assert repr(text) in message
    else:
        assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    ("address", "tls", "url"),
    [
        (Tcp("127.0.0.1", 80), False, "http://127.0.0.1:80/x"),
        (Tcp("::1", 8443), True, "https://[::1]:8443/x"),
        (Unix("/run/ws.sock"), True, "unix:/run/ws.sock"),
    ],
)
def test_a_url_is_what_can_be_opened(address, tls, url):
    assert format_url(address, "/x", tls=tls) == url


@pytest.mark.parametrize(
    ("peer", "group"),
    [
        ("10.0.0.1", "10.0.0.1"),
        ("::ffff:10.0.0.1", "10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("local", "local"),
    ],
)
def test_peers_that_one_client_may_be_count_as_one(peer: str, group: str) -> None:
    assert group_address(peer) == group


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.8.9.10", "::1", "::ffff:127.0.0.1", "local"])
def test_loopback_and_unix_sockets_are_local(peer: str) -> None:
    assert is_local(peer)


@pytest.mark.parametrize("peer", ["10.0.0.1", "0.0.0.0", "2001:db8::1", "::ffff:10.0.0.1", "fe80::1%lo"])
def test_other_addresses_are_not_local(peer: str) -> None:
    assert not is_local(peer)
