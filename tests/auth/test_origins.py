"""Host and Origin: exactly ours, or exactly configured."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ws_subprocess.auth.origins import Origin, OriginPolicy, parse_origin
from ws_subprocess.errors import RequestError

OURS = "127.0.0.1:8866"
POLICY = OriginPolicy(allow_origins=("https://ours.example", "http://app.example:8080"), allow_hosts=("term.example",))


def is_let_in(origin: str | None, host: str | None = OURS, scheme: str = "http", policy: OriginPolicy = POLICY) -> bool:
    try:
        policy.check(scheme, host, origin)
    except RequestError as refusal:
        if refusal.code != "origin_denied":
            raise
        return False
    return True


# Deterministic and many: every combination of a scheme, a host and a port that looks like one of ours.
SCHEMES = ["http", "https", "ws", "HTTPS", "file", "chrome-extension"]
HOSTS = [
    "ours.example",
    "OURS.example",
    "ours.example.",
    "ours.example.evil.io",
    "evilours.example",
    "ours.example@evil.io",
    "oursXexample",
    "app.example",
    "127.0.0.1",
    "localhost",
    "xn--ours.example",
]
PORTS = ["", ":443", ":80", ":8080", ":8866", ":0443", ":4430"]
GENERATED = [f"{scheme}://{host}{port}" for scheme in SCHEMES for host in HOSTS for port in PORTS]


def test_of_hundreds_of_origins_only_the_exact_ones_pass() -> None:
    assert len(GENERATED) > 400

    passed = {origin for origin in GENERATED if is_let_in(origin)}

    ours = {f"{scheme}://{host}{port}" for scheme in ("https", "HTTPS") for host in ("ours.example", "OURS.example")
            for port in ("", ":443", ":0443")}  # fmt: skip
    assert passed == ours | {"http://app.example:8080", "http://127.0.0.1:8866"}


@given(st.text(st.characters(), max_size=30), st.text(st.characters(), max_size=30))
def test_nothing_put_before_or_behind_an_allowed_origin_passes(before: str, behind: str) -> None:
    origin = f"{before}https://ours.example{behind}"

    if is_let_in(origin):
        assert parse_origin(origin) == Origin("https", "ours.example", 443)
        assert before == ""
        assert behind in ("", ":443") or behind.lstrip(":0") == "443"


@given(st.text(st.characters()))
def test_any_text_is_an_origin_or_a_value_error(text: str) -> None:
    try:
        origin = parse_origin(text)
    except ValueError:
        return
    assert origin.scheme in ("http", "https")
    assert origin.host == origin.host.lower()
    assert 0 <= origin.port <= 65_535


ODD = ["null", "", "https://ours.example/", "https://ours.example/x", "https://ours.example?", "https://ours.example#",
       "https://u:p@ours.example", "https://ours.example:", "https://ours.example:99999", "https://ours.example:x",
       "https://ours.example:+443", "https://ours.example\t", " https://ours.example", "https:\\\\ours.example",
       "https:ours.example", "//ours.example", "https://[::1", "https://ours%2eexample", "https://\u00f6urs.example",
       "https://ours.example,https://evil.io", "https://", "https://.", "https://ours.example\0"]  # fmt: skip


@pytest.mark.parametrize("origin", ODD, ids=ascii)
def test_what_no_browser_sends_is_refused(origin: str) -> None:
    assert not is_let_in(origin)


def test_no_origin_at_all_is_fine_for_clients_that_are_not_browsers() -> None:
    assert is_let_in(None)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "127.0.0.1:8866", "http://127.0.0.1:8866"),
        ("http", "localhost:8866", "http://localhost:8866"),
        ("http", "LOCALHOST", "http://localhost"),
        ("https", "term.example", "https://term.example"),
        ("https", "term.example:443", "https://term.example"),
        ("http", "[::1]:8866", "http://[::1]:8866"),
    ],
)
def test_the_daemons_own_pages_may_use_it(scheme: str, host: str, origin: str) -> None:
    assert is_let_in(origin, host, scheme)


@pytest.mark.parametrize(
    ("scheme", "host", "origin"),
    [
        ("http", "127.0.0.1:8866", "http://127.0.0.1:8867"),
        ("http", "127.0.0.1:8866", "http://127.0.0.1"),
        ("http", "127.0.0.1:8866", "https://127.0.0.1:8866"),
        ("http", "127.0.0.1:8866", "http://localhost:8866"),
        ("https", "term.example", "http://term.example"),
        ("https", "term.example", "https://term.example:8443"),
    ],
)
def test_another_scheme_host_or_port_on_this_machine_is_somebody_else(scheme: str, host: str, origin: str) -> None:
    assert not is_let_in(origin, host, scheme)


FOREIGN_HOSTS = ["attacker.example", "localhost.attacker.example", "evil-localhost", "term.example.", "", None,
                 "sub.term.example", "127.0.0.1.nip.io", "user@localhost", "localhost/x", "2130706433", "0x7f.1",
                 "127.1", "localhost:", "localhost:99999", "[::1", "[::1]evil", "[::1].evil:80"]  # fmt: skip


@pytest.mark.parametrize("host", FOREIGN_HOSTS, ids=str)
def test_a_name_that_somebody_else_may_point_here_is_refused_before_its_origin(host: str | None) -> None:
    with pytest.raises(RequestError) as caught:
        POLICY.check("http", host, f"http://{host}")

    assert caught.value.code == "host_denied"
    assert "allow_hosts" in caught.value.detail


@pytest.mark.parametrize("host", ["10.0.0.7", "192.168.1.5:8866", "[fe80::1]:80", "[2001:db8::7]", "localhost:1"])
def test_an_address_cannot_be_rebound(host: str) -> None:
    assert is_let_in(None, host)


def test_pages_of_allowed_origins_may_read_and_our_own_need_not_be_asked() -> None:
    assert POLICY.allows_origin("https://ours.example")
    assert POLICY.allows_origin("https://ours.example:443")
    assert not POLICY.allows_origin("http://ours.example")
    assert not POLICY.allows_origin("null")


def test_what_is_told_of_a_bad_header_is_short_and_harmless() -> None:
    with pytest.raises(RequestError) as caught:
        POLICY.check("http", OURS, "http://\x1b[31m\u2028" + "x" * 10_000)

    assert caught.value.detail.isascii()
    assert caught.value.detail.isprintable()
    assert len(caught.value.detail) < 300
