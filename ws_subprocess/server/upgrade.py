"""Turns an HTTP connection that asked for a websocket into one."""

from collections.abc import Sequence
from urllib.parse import unquote

from websockets.datastructures import Headers
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.http11 import Request
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from ws_subprocess.server.asgi import Scope
from ws_subprocess.server.settings import ServerSettings
from ws_subprocess.server.websocket import WebSocketConnection
from ws_subprocess.server.websocket_app import WebSocketApp
from ws_subprocess.server.websocket_roles import HttpConnection

DIRECT_EXTENSION = "ws_subprocess.direct"
"""scope["extensions"][DIRECT_EXTENSION]["channel"] is the connection; see `WebSocketConnection.start`."""

_SWITCHING_PROTOCOLS = 101


def upgrade(http: HttpConnection, settings: ServerSettings, target: bytes, early: bytes) -> None:
    """Serve the application over a websocket on the connection of `http`, whose head `request_rules` found good.

    Args:
        target: The request line's second word.
        early: What arrived behind the head.
    """
    parser = ServerProtocol(
        # The handshake is answered here, from the head that is parsed already, so the parser begins behind it.
        state=OPEN,
        extensions=[_deflate()] if settings.compression else None,
        max_size=settings.max_message_bytes,
    )
    response = parser.accept(Request(target.decode("ascii"), _handshake_headers(http.headers)))
    http.connections.discard(http)
    connection = WebSocketConnection(http.transport, parser, settings)
    scope = _build_scope(http, target)
    scope["extensions"] = {"websocket.http.response": {}, DIRECT_EXTENSION: {"channel": connection}}
    app = WebSocketApp(http, scope, connection, response)
    connection.serve(app, early)
    if response.status_code != _SWITCHING_PROTOCOLS:
        # An extension or subprotocol header that cannot be parsed.
        connection.deny(response)
        return
    task = http.loop.create_task(app.run())
    http.tasks.add(task)
    task.add_done_callback(http.tasks.discard)


def _handshake_headers(headers: Sequence[tuple[bytes, bytes]]) -> Headers:
    chosen = Headers()
    for name, value in headers:
        if name in (b"connection", b"upgrade") or name.startswith(b"sec-websocket-"):
            chosen[name.decode("ascii")] = value.decode("latin-1")
    return chosen


def _deflate() -> ServerPerMessageDeflateFactory:
    # 4 KiB windows: a terminal's output repeats itself nearby, and there may be a thousand connections.
    return ServerPerMessageDeflateFactory(
        server_max_window_bits=12, client_max_window_bits=12, compress_settings={"memLevel": 5}
    )


def _build_scope(http: HttpConnection, target: bytes) -> Scope:
    raw_path, _, query = target.partition(b"?")
    subprotocols = b",".join(value for name, value in http.headers if name == b"sec-websocket-protocol")
    return {
        "type": "websocket",
        "asgi": {"version": http.asgi_version, "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if http.scheme == "https" else "ws",
        "server": http.server,
        "client": http.client,
        "root_path": "",
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": http.headers,
        "subprotocols": [name.strip() for name in subprotocols.decode("latin-1").split(",") if name.strip()],
        "state": http.app_state.copy(),
    }
