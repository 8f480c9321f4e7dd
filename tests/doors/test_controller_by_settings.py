"""The settings about the controller reach it: its socket, its certificate, its signature, tokens that count once."""

from pathlib import Path

import pytest
from certificates import make_authority, make_certificate, serve_tls
from knocking import Start, expect
from scripted_server import respond, scripted

from ws_subprocess.auth.signature import HEADER, sign

pytestmark = pytest.mark.parametrize("server", ["ours"], indirect=True)

BODY = b'{"command": "/bin/echo", "args": ["granted"]}'
KEY = b"0123456789abcdef0123456789abcdef"
SIGNED = respond(BODY, "200 OK", f"{HEADER}: {sign(KEY, 'GET', b't0ken', BODY)}")
TARGET = "/ws?token=t0ken"


async def test_a_signed_answer_over_a_unix_socket_starts_a_command_once(start: Start, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY + b"\n")
    (tmp_path / "key").chmod(0o600)
    socket = str(tmp_path / "controller.sock")
    async with scripted(SIGNED, socket=socket) as controller:
        daemon = await start(
            controller_url="http://controller.example/ask",
            controller_socket=socket,
            controller_hmac_key=f"file:{tmp_path / 'key'}",
            token_once=True,
            state_dir=str(tmp_path / "state"),
        )
        async with daemon.open(TARGET) as client:
            await client.ends()

        assert client.output.strip() == b"granted"
        await expect(daemon, "denied", TARGET)
        assert len(controller.requests) == 3


async def test_an_answer_without_signature_starts_nothing(start: Start, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key").chmod(0o600)
    async with scripted(respond(BODY)) as controller:
        daemon = await start(controller_url=controller.url, controller_hmac_key=f"file:{tmp_path / 'key'}")

        await expect(daemon, "controller_bad_signature", TARGET)


async def test_a_controller_that_wants_to_see_a_certificate_sees_ours(start: Start, tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    served = serve_tls(make_certificate(tmp_path, "controller", authority), clients=authority)
    mine = make_certificate(tmp_path, "daemon", authority)
    async with scripted(respond(BODY), served) as controller:
        daemon = await start(
            controller_url=f"https://127.0.0.1:{controller.port}/ask",
            controller_ca=str(authority.cert),
            controller_cert=str(mine.cert),
            controller_key=str(mine.key),
        )
        async with daemon.open(TARGET) as client:
            await client.ends()

    assert client.output.strip() == b"granted"


async def test_a_controller_with_a_certificate_of_others_is_not_asked(start: Start, tmp_path: Path) -> None:
    authority, others = make_authority(tmp_path), make_authority(tmp_path, "others")
    served = serve_tls(make_certificate(tmp_path, "controller", others))
    async with scripted(respond(BODY), served) as controller:
        daemon = await start(
            controller_url=f"https://127.0.0.1:{controller.port}/ask", controller_ca=str(authority.cert)
        )

        await expect(daemon, "controller_unreachable", TARGET)

    assert controller.requests == []
