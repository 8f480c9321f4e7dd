"""Three ways to give a token; it reaches the controller as it is, and nobody else."""

import logging

import pytest
from daemon import NATIVE, Daemon
from knocking import authorization, bearer, protocols
from observing import until
from scripted_server import respond


@pytest.mark.parametrize("token", ["&=#+ ;", "%2526", "\u00e9\u20ac", "a\nb\0", "\x1b[31m"], ids=ascii)
async def test_a_token_in_the_query_reaches_the_controller_as_it_is(daemon: Daemon, token: str) -> None:
    encoded = "".join(f"%{byte:02X}" for byte in token.encode())

    await daemon.knock(f"/ws?token={encoded}")

    assert daemon.list_asked() == [token]


@pytest.mark.parametrize("token", ["t0ken", "\u00e9\u20ac", "a b&c=d", "\0\n"], ids=ascii)
async def test_a_token_in_a_subprotocol_reaches_the_controller_as_it_is(daemon: Daemon, token: str) -> None:
    await daemon.knock("/ws", protocols(NATIVE, bearer(token.encode())))

    assert daemon.list_asked() == [token]


@pytest.mark.parametrize("token", ["t0ken", "a&b=c+d%20", "\u00e9\u20ac"], ids=ascii)
async def test_a_token_in_the_authorization_header_reaches_the_controller_as_it_is(daemon: Daemon, token: str) -> None:
    await daemon.knock("/ws", authorization(token))

    assert daemon.list_asked() == [token]


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/ws?token=t0ken", []),
        ("/ws", [authorization("t0ken")]),
        ("/ws", [("Authorization", "bearer  t0ken ")]),
        ("/ws", [protocols(bearer(b"t0ken"), NATIVE)]),
        ("/ws", [protocols(NATIVE), protocols(bearer(b"t0ken"))]),
        ("/ws?token=", [authorization("t0ken")]),
    ],
    ids=str,
)
async def test_each_way_to_give_a_token_opens_the_door(
    daemon: Daemon, path: str, headers: list[tuple[str, str]]
) -> None:
    daemon.grant("true")

    reply = await daemon.knock(path, *headers)

    assert reply.status == 101
    assert reply.get("sec-websocket-protocol") == (NATIVE if NATIVE in str(headers) else None)
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_the_token_stands_in_no_line_of_the_log_whatever_happens(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "c4nary-s3cret"
    with caplog.at_level(logging.DEBUG):
        for answer in (
            None,
            respond("<html>"),
            respond("", "500 X"),
            {"command": "/no/such"},
            {"command": "/bin/true"},
        ):
            daemon.grants[secret] = answer if answer is not None else respond("", "403 X")
            await daemon.knock(f"/ws?token={secret}")
            await daemon.knock("/ws", protocols(NATIVE, bearer(secret.encode())))
            await daemon.knock("/ws", authorization(secret))
            await daemon.get(f"/ws?token={secret}")
        await daemon.knock(f"/ws?token={secret}&rows=x")
        await daemon.knock(f"/ws?token={secret}&token={secret}")
        await until(lambda: not len(daemon.app.registry), "no session")

    # Those who ask: the test's own client and controller are not the daemon.
    ours = [record for record in caplog.records if record.name.split(".")[0] not in ("websockets", "asyncio")]
    hidden = {secret, bearer(secret.encode())}
    for record in ours:
        shown = record.getMessage() + repr(record.__dict__)
        assert not [word for word in hidden if word in shown], (record.name, record.getMessage())
