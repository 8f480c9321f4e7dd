"""Reads what a client says when it knocks: who it is, with which token, for what size.

Law: the checks run from the cheapest to the one that costs a token; each refuses with an error that names the way out.
"""

import base64
import binascii
import re
from urllib.parse import parse_qsl

from starlette.datastructures import Headers
from starlette.types import Scope

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.errors import RequestError
from ws_subprocess.model import DEFAULT_SIZE, SIZE_MAX, Credentials, LaunchRequest, Size

TOKEN_MAX_BYTES = 8192
_BEARER_PROTOCOL = "bearer."
_BEARER_SCHEME = re.compile(r"Bearer(\s|$)", re.IGNORECASE | re.ASCII)
_BEARER_HEADER = re.compile(r"Bearer +(\S+) *", re.IGNORECASE | re.ASCII)
_BASE64URL = re.compile(r"[A-Za-z0-9_-]+")
_HTTP_SCHEMES = {"ws": "http", "wss": "https"}
_NUMBER = re.compile(r"[0-9]{1,9}")


def check_path(scope: Scope, path: str) -> None:
    """Pass a request that spells a door's path as we do: a proxy's rules for `/ws` do not see `/%77s`.

    Args:
        path: The door's path, below whatever this application is mounted at.

    Raises:
        RequestError: `not_found`.
    """
    # Servers need not give the path as it was sent.
    raw_path: bytes | None = scope.get("raw_path")
    if raw_path is not None and not raw_path.endswith(path.encode()):
        raise RequestError("not_found")


def check_origin(scope: Scope, headers: Headers, policy: OriginPolicy) -> None:
    """Pass a request whose Host is ours and whose Origin, if any, may use us.

    Raises:
        RequestError: It is not, or a header stands twice.
    """
    for name in ("host", "origin"):
        if len(headers.getlist(name)) > 1:
            raise RequestError("bad_request", f"{name}: given more than once")
    scheme: str = scope["scheme"]
    scheme = _HTTP_SCHEMES.get(scheme, scheme)
    policy.check(scheme, headers.get("host"), headers.get("origin"))


def require_origin(headers: Headers, policy: OriginPolicy) -> None:
    """Pass a request that says which page it comes from, where the operator wants that.

    Raises:
        RequestError: `origin_required`.
    """
    if policy.is_origin_required and headers.get("origin") is None:
        raise RequestError("origin_required", "require_origin refuses clients that are no browsers")


def read_request(scope: Scope, door: str) -> LaunchRequest:
    """Return who asks and for what size.

    Raises:
        RequestError: `rows` or `cols` is no size.
    """
    query = _parse_query(scope)
    rows, cols = (_parse_size(name, query) for name in ("rows", "cols"))
    if rows is None and cols is None:
        return LaunchRequest(door, get_peer(scope))
    return LaunchRequest(door, get_peer(scope), Size(rows or DEFAULT_SIZE.rows, cols or DEFAULT_SIZE.cols))


def get_peer(scope: Scope) -> str:
    """Return the client's address as the server tells it; `local` on a unix socket."""
    client = scope.get("client")
    return client[0] if client else "local"


def read_credentials(scope: Scope, headers: Headers, offered: list[str]) -> Credentials:
    """Return the one token of a request: from `Authorization`, a `bearer.` subprotocol or the query.

    Raises:
        RequestError: None, more than one, too long or malformed.
    """
    tokens = [value for name, value in _parse_query(scope) if name == "token" and value]
    tokens += [_decode_bearer(protocol) for protocol in offered if protocol.startswith(_BEARER_PROTOCOL)]
    tokens += list_bearers(headers)
    if not tokens:
        raise RequestError("token_missing")
    return take_token(tokens)


def list_bearers(headers: Headers) -> list[str]:
    """Return the tokens in `Authorization` headers.

    Raises:
        RequestError: One is malformed.
    """
    # Other schemes are for others: a browser sends the Basic credentials of a site in front of us to us, too.
    return [_parse_bearer(value) for value in headers.getlist("authorization") if _BEARER_SCHEME.match(value)]


def take_token(tokens: list[str]) -> Credentials:
    """Return the one token that a request has.

    Args:
        tokens: At least one.

    Raises:
        RequestError: There are more, or it is too long or malformed.
    """
    if len(tokens) > 1:
        raise RequestError("token_ambiguous")
    try:
        length = len(tokens[0].encode())
    except UnicodeEncodeError as exc:
        raise RequestError("token_malformed", "not UTF-8") from exc
    if length > TOKEN_MAX_BYTES:
        raise RequestError("token_too_long", f"{length} bytes, at most {TOKEN_MAX_BYTES}")
    return Credentials(tokens[0])


def list_protocols(headers: Headers) -> list[str]:
    """Return the offered subprotocols in order."""
    return [item.strip() for value in headers.getlist("sec-websocket-protocol") for item in value.split(",")]


def _parse_query(scope: Scope) -> list[tuple[str, str]]:
    text = scope["query_string"].decode("utf-8", "surrogateescape")
    return parse_qsl(text, keep_blank_values=True, errors="surrogateescape")


def _parse_size(name: str, query: list[tuple[str, str]]) -> int | None:
    """Return a size, None when it is not given; 0 is what a page says that has not been laid out yet."""
    values = [value for key, value in query if key == name]
    if not values:
        return None
    if len(values) > 1 or not _NUMBER.fullmatch(values[0]) or int(values[0]) > SIZE_MAX:
        raise RequestError("bad_size", f"{name}: {values[-1][:40]!a} is not in 0..{SIZE_MAX}")
    return int(values[0]) or None


def _decode_bearer(protocol: str) -> str:
    text = protocol.removeprefix(_BEARER_PROTOCOL)
    try:
        if not _BASE64URL.fullmatch(text):
            raise ValueError("odd character")
        return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)).decode()
    except (ValueError, binascii.Error) as exc:
        raise RequestError("token_malformed", "subprotocol bearer.: not base64url of UTF-8, without padding") from exc


def _parse_bearer(value: str) -> str:
    match = _BEARER_HEADER.fullmatch(value)
    if match is None:
        raise RequestError("token_malformed", "Authorization: not 'Bearer TOKEN'")
    # Headers are read as Latin-1, which keeps every byte; what we were sent is UTF-8, or it is refused later.
    return match[1].encode("latin-1").decode("utf-8", "surrogateescape")
