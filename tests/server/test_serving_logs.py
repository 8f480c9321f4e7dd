"""What the libraries below may not write into logs."""

import logging

import pytest
from running_server import BINARY, TEXT, both_parsers, direct, handshake

TOKEN = "s3cr3t-t0ken"
INPUT = b"typed-passw0rd"


@pytest.fixture
def everything(caplog):
    """Catch every record of every logger, whatever its level was."""
    caplog.set_level(logging.DEBUG)
    return caplog


def assert_silent_about(records, *secrets):
    for record in records:
        shown = f"{record.getMessage()} {record.__dict__}"
        assert not any(secret in shown for secret in secrets), shown


@direct
async def echo(channel, receive):
    channel.start(channel.send, lambda: None)
    await receive()


async def refusing(scope, receive, send):
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.close"})
    else:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})


async def failing(scope, receive, send):
    raise ZeroDivisionError


@both_parsers
def test_neither_token_nor_input_is_logged_for_a_session(serving, everything):
    with serving(echo).upgrade(f"/ws?token={TOKEN}") as client:
        client.send(BINARY, INPUT)
        assert client.read() == (BINARY, INPUT)
        client.send(TEXT, b"\xff" + INPUT)
        client.read_close()

    assert_silent_about(everything.records, TOKEN, INPUT.decode())


@pytest.mark.parametrize("application", [refusing, failing])
@pytest.mark.parametrize(
    "request_bytes",
    [
        handshake(f"/ws?token={TOKEN}"),
        handshake(f"/ws?token={TOKEN}").replace(b"Version: 13", b"Version: 8"),
        f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode(),
        f"GET /ws?token={TOKEN} HTTP/1.1\r\nbad header\r\n\r\n".encode(),
        f"GET /ws?token={TOKEN} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, close\r\nUpgrade: h2c\r\n\r\n".encode(),
    ],
    ids=["websocket", "bad websocket", "http", "bad http", "other upgrade"],
)
@both_parsers
def test_no_token_is_logged_whatever_becomes_of_the_request(serving, everything, application, request_bytes):
    assert serving(application).request(request_bytes)

    assert_silent_about(everything.records, TOKEN)


def test_refusing_a_websocket_is_no_error(serving, everything):
    serving(refusing).request(handshake())

    assert [record for record in everything.records if record.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("name", ["uvicorn.error", "uvicorn.access", "websockets.server"])
def test_a_query_is_removed_from_what_the_libraries_say(serving, caplog, name):
    serving(echo)
    logger = logging.getLogger(name)
    # uvicorn cuts its access log off from the others.
    logger.addHandler(caplog.handler)
    try:
        logger.error('%s - "WebSocket %s" [accepted]', "127.0.0.1:5", f"/ws?token={TOKEN}")
    finally:
        logger.removeHandler(caplog.handler)

    assert caplog.messages[-1] == '127.0.0.1:5 - "WebSocket /ws?[removed]" [accepted]'
    assert_silent_about(caplog.records, TOKEN)
