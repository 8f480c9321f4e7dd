"""What is read from a request, whatever server stands in front: some let through what ours does not."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.datastructures import Headers

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.doors.handshake import check_origin, get_peer, list_protocols, read_credentials, read_request
from ws_subprocess.errors import RequestError
from ws_subprocess.model import Size

POLICY = OriginPolicy((), ())


def build(query: bytes = b"", *headers: tuple[bytes, bytes], **scope: Any) -> tuple[dict[str, Any], Headers]:
    whole = {"type": "websocket", "scheme": "ws", "query_string": query, "headers": list(headers), **scope}
    return whole, Headers(scope=whole)


@pytest.mark.parametrize("name", [b"host", b"origin"])
def test_a_header_that_decides_may_not_stand_twice(name: bytes) -> None:
    scope, headers = build(b"", (b"host", b"127.0.0.1"), (name, b"127.0.0.1"), (name, b"127.0.0.1"))

    with pytest.raises(RequestError) as caught:
        check_origin(scope, headers, POLICY)

    assert (caught.value.code, caught.value.detail) == ("bad_request", f"{name.decode()}: given more than once")


@pytest.mark.parametrize(("scheme", "origin"), [("ws", b"http://127.0.0.1"), ("wss", b"https://127.0.0.1")])
def test_a_websocket_has_the_origin_of_the_page_beside_it(scheme: str, origin: bytes) -> None:
    scope, headers = build(b"", (b"host", b"127.0.0.1"), (b"origin", origin), scheme=scheme)

    check_origin(scope, headers, POLICY)


@given(st.binary(max_size=60), st.binary(max_size=40), st.binary(max_size=40))
def test_any_bytes_are_credentials_or_a_request_error(query: bytes, authorization: bytes, protocols: bytes) -> None:
    scope, headers = build(query, (b"authorization", authorization), (b"sec-websocket-protocol", protocols))

    try:
        read_credentials(scope, headers, list_protocols(headers)).token.encode()
        read_request(scope, "terminal")
    except RequestError as error:
        str(error).encode()


@given(st.text(st.characters(blacklist_categories=("Cs",)), min_size=1))
def test_a_token_that_was_sent_raw_is_read_as_utf_8(token: str) -> None:
    scope, headers = build(b"token=" + token.replace("%", "%25").replace("+", "%2B").replace("&", "%26").encode())

    assert read_credentials(scope, headers, []).token == token


def test_one_side_of_a_size_is_enough() -> None:
    scope, _ = build(b"cols=100")

    assert read_request(scope, "terminal").size == Size(24, 100)


def test_without_a_size_there_is_none() -> None:
    scope, _ = build(b"rows=0&cols=0")

    assert read_request(scope, "terminal").size is None


def test_a_client_of_a_unix_socket_is_local() -> None:
    assert get_peer(build(client=None)[0]) == "local"
    assert get_peer(build(client=("10.0.0.7", 5))[0]) == "10.0.0.7"
