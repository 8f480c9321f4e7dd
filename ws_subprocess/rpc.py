"""Functions of your own application that others call over HTTP, in weeRPC or JSON-RPC 2.0: the API of Flask-RPC.

    rpc = RPC(app, url_prefix="/rpc")
    rpc.functions(add_numbers=lambda data: RPCResponse.success(sum(data), "added"))

`app` is a Starlette (or FastAPI) application, or a router of one. Functions take one argument, `data`. One that is
`async` runs on the loop, any other on a thread. PROTOCOL.md, "Calling functions", says what clients send and get.
"""

import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Protocol

from starlette.requests import Request
from starlette.responses import Response

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.dialects.weerpc import V1_0, V1_1, Version, build_envelope
from ws_subprocess.doors.bodies import BodyLimits
from ws_subprocess.doors.handshake import check_origin, get_peer
from ws_subprocess.doors.rpc import RpcDoor, read_host
from ws_subprocess.service.calls import Dispatcher
from ws_subprocess.service.functions import Caller, FunctionTable, Scope
from ws_subprocess.service.off_loop import Threads

_VERSIONS = {version.number: version for version in (V1_0, V1_1)}

log = logging.getLogger(__name__)
_request: ContextVar[Request] = ContextVar("rpc_request")


class Routes(Protocol):
    """Something that a route can be added to: an application or a router."""

    def add_route(self, path: str, /, route: Callable[[Request], Awaitable[Response]], methods: list[str]) -> None: ...


class RPCAuthSessionKey:
    """Lets in callers whose session (the signed cookie of Starlette's SessionMiddleware) has one of some values.

    Args:
        key: The session's key.
        value_in: Its allowed values.
    """

    def __init__(self, key: str, value_in: Sequence[Any]) -> None:
        self._key = key
        self._value_in = list(value_in)

    def check(self, ask: Mapping[str, Any]) -> bool:
        """Tell whether this session has one of the values."""
        return self._key in ask and ask[self._key] in self._value_in


SessionAuth = RPCAuthSessionKey | Sequence[RPCAuthSessionKey]


@dataclass(frozen=True, slots=True)
class RPCModel:
    """A request of weeRPC 1.1, in Python."""

    weerpc: float
    function: str
    data: Any


class RPCRequest:
    """Requests, for clients in Python."""

    @classmethod
    def build(cls, function: str, data: Any = None, version: float = 1.1) -> dict[str, Any]:
        """Return a request; post it as JSON.

        Raises:
            ValueError: There is no such version.
        """
        spoken = _find_version(version)
        return {spoken.key: spoken.number, "function": function, "data": data}


class RPCResponse:
    """What functions return. The version in it does not matter: the route answers in its own."""

    @classmethod
    def success(cls, data: Any = None, message: str | None = None) -> dict[str, Any]:
        """Return a success with any data, also 0, False, "" and the empty ones."""
        return build_envelope(V1_1, True, message, data)

    @classmethod
    def fail(cls, message: str | None = None, data: Any = None) -> dict[str, Any]:
        """Return a failure."""
        return build_envelope(V1_1, False, message, data)


class RPC:
    """One POST route.

    `session_auth` and `host_auth` are for all functions; those of `functions` and `functions_auto_name` for the ones
    that are named with them. `host_auth` compares the Host header as it is: what a client typed, and any program
    can type any: it keeps the names of one site apart and authenticates nobody. A `policy` is asked before it.

    Args:
        session_auth: Needs SessionMiddleware in the application; without it nobody is let in.
        version: Of weeRPC: 1.1 or 1.0.
        policy: Which Host and Origin headers are yours; others are answered 403. None leaves that to the application.
        timeout_s: How long the calls of one request may take.
        max_threads: Functions on threads at a time; others wait for their turn within `timeout_s`.
        max_body_bytes, body_timeout_s: How large a request may be, and how long it may take to come.

    Raises:
        TypeError: `app_or_router` takes no routes, a function cannot be called, or an argument is of the wrong type.
        ValueError: There is no such version.
    """

    def __init__(
        self,
        app_or_router: Routes,
        url_prefix: str = "/",
        functions: Mapping[str, Callable[[Any], Any]] | None = None,
        session_auth: SessionAuth | None = None,
        host_auth: Sequence[str] | None = None,
        *,
        version: float = 1.1,
        policy: OriginPolicy | None = None,
        timeout_s: float = 30.0,
        max_threads: int = 8,
        max_body_bytes: int = 1024 * 1024,
        body_timeout_s: float = 30.0,
    ) -> None:
        if not isinstance(url_prefix, str):
            raise TypeError(f"url_prefix: expected a string, got {type(url_prefix)}; functions go into functions=")
        if not hasattr(app_or_router, "add_route"):
            raise TypeError(f"Expected a Starlette application or a router, got {type(app_or_router)}.")
        self._policy = policy
        self._table = FunctionTable()
        self._threads = Threads(max_threads)
        dispatcher = Dispatcher(self._table, _find_version(version), timeout_s)
        self._door = RpcDoor(dispatcher, self._admit, BodyLimits(max_body_bytes, body_timeout_s))
        self._add((functions or {}).items(), Scope())
        self.session_auth(session_auth or [])
        self.host_auth(host_auth or [])
        app_or_router.add_route("/" + url_prefix.lstrip("/"), self._answer, methods=["POST"])

    def session_auth(self, auth_session_keys: SessionAuth) -> None:
        """Let only such sessions call anything."""
        self._table.scope = replace(self._table.scope, sessions=_read_rules(auth_session_keys))

    def host_auth(self, hosts: Sequence[str]) -> None:
        """Let only requests to such hosts (`name`, `name:port`) call anything; the class says what that is worth."""
        self._table.scope = replace(self._table.scope, hosts=_read_hosts(hosts))

    def functions(
        self,
        session_auth__: SessionAuth | None = None,
        host_auth__: Sequence[str] | None = None,
        **named: Any,
    ) -> None:
        """Let functions be called by these names.

        `session_auth` and `host_auth` are taken for the arguments with the underscores, unless they can be called.

        Raises:
            TypeError: Something cannot be called.
            ValueError: There is one of that name.
        """
        session_auth__ = _take_plain(named, "session_auth", session_auth__)
        host_auth__ = _take_plain(named, "host_auth", host_auth__)
        self._add(named.items(), Scope(_read_rules(session_auth__ or []), _read_hosts(host_auth__ or [])))

    def functions_auto_name(
        self,
        functions: Iterable[Callable[[Any], Any]],
        session_auth__: SessionAuth | None = None,
        host_auth__: Sequence[str] | None = None,
    ) -> None:
        """Let functions be called by their own names.

        Raises:
            TypeError: Something cannot be called.
            ValueError: One has no name, or there is one of that name.
        """
        named = [(getattr(function, "__name__", ""), function) for function in functions]
        self._add(named, Scope(_read_rules(session_auth__ or []), _read_hosts(host_auth__ or [])))

    def close(self) -> None:
        """Begin no function on a thread any more; those that run go on to their end."""
        self._threads.close()

    def _add(self, named: Iterable[tuple[str, Any]], scope: Scope) -> None:
        for name, function in named:
            if not callable(function):
                raise TypeError(f"Expected a callable, got {type(function)}.")
            if not name:
                raise ValueError(f"Callable {function} must have a name.")
            self._table.add(name, self._threads.adapt(function), scope)

    async def _answer(self, request: Request) -> Response:
        _request.set(request)
        return await self._door.answer(request)

    def _admit(self, request: Request) -> Caller:
        if self._policy is not None:
            check_origin(request.scope, request.headers, self._policy)
        if "session" not in request.scope and self._table.scope.sessions:
            log.error("session_auth lets nobody in: the application has no SessionMiddleware")
        return Caller(get_peer(request.scope), read_host(request), request.scope.get("session", {}))


def current_request() -> Request:
    """Return the request whose function runs here, on the loop or on a thread: for its `session`, `client`, `headers`.

    Raises:
        LookupError: No function runs here.
    """
    return _request.get()


def _find_version(number: float) -> Version:
    found = _VERSIONS.get(number)
    if found is None:
        raise ValueError(f"version = {number}: not {' or '.join(map(str, _VERSIONS))}")
    return found


def _take_plain(named: dict[str, Any], name: str, given: Any) -> Any:
    """Return the argument of a readme that names it without the underscores; a function may have that name, too."""
    return given if name not in named or callable(named[name]) else named.pop(name)


def _read_rules(keys: SessionAuth) -> tuple[RPCAuthSessionKey, ...]:
    rules = (keys,) if isinstance(keys, RPCAuthSessionKey) else tuple(keys)
    for rule in rules:
        if not isinstance(rule, RPCAuthSessionKey):
            raise TypeError(f"session_auth: expected RPCAuthSessionKey, got {type(rule)}.")
    return rules


def _read_hosts(hosts: Sequence[str]) -> tuple[str, ...]:
    if isinstance(hosts, str):
        raise TypeError(f"host_auth: expected a list of hosts, got the string {hosts!r}.")
    return tuple(hosts)
