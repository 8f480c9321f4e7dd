"""TLS to a real server: who is believed, and that nobody else sees a token."""

import asyncio
import contextlib
import os
import re
import socket
import ssl
import threading
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from asking import GOOD, asking
from certificates import Pair, make_authority, make_certificate, serve_tls, write_locked
from observing import until
from scripted_server import ScriptedServer, read_headers, scripted

from ws_subprocess.auth.client_tls import build_context
from ws_subprocess.errors import GateError

HTTPS = "https://127.0.0.1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("certificates")


@pytest.fixture(scope="module")
def authority(folder: Path) -> Pair:
    return make_authority(folder)


@pytest.fixture(scope="module")
def good(folder: Path, authority: Pair) -> Pair:
    return make_certificate(folder, "controller", authority)


@asynccontextmanager
async def knowing(
    served: ssl.SSLContext, trusted: ssl.SSLContext | None, host: str = "127.0.0.1"
) -> AsyncIterator[tuple[Callable[[str], Any], ScriptedServer]]:
    async with (
        scripted(GOOD, served) as server,
        asking(f"https://{host}:{server.port}/ws-controller", tls=trusted) as ask,
    ):
        yield ask, server


async def be_unreachable(served: ssl.SSLContext, trusted: ssl.SSLContext | None, host: str = "127.0.0.1") -> str:
    """Ask a server that is not believed; return the detail for the log."""
    async with knowing(served, trusted, host) as (ask, server):
        with pytest.raises(GateError) as caught:
            await ask("t0ken")
    assert (caught.value.code, caught.value.fault.status) == ("controller_unreachable", 503)
    assert caught.value.retry_after_s
    assert server.requests == [], "nobody saw the token"
    assert f"{host}:{server.port}" in caught.value.detail
    assert "t0ken" not in str(caught.value)
    return caught.value.detail


@contextmanager
def alerting(served: ssl.SSLContext) -> Iterator[int]:
    """Give the port of a server that fails one handshake and says why; that of asyncio keeps the alert to itself."""

    def serve() -> None:
        connection, _ = listener.accept()
        with served.wrap_socket(connection, server_side=True, do_handshake_on_connect=False) as tls:
            tls.settimeout(5)
            with contextlib.suppress(ssl.SSLError):
                tls.do_handshake()
            tls.settimeout(None)
            # A reset, which follows when something was left unread, would overtake the alert.
            with contextlib.suppress(ConnectionError):
                while os.read(tls.fileno(), 4096):
                    pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


async def hear_alert(served: ssl.SSLContext, trusted: ssl.SSLContext | None) -> str:
    """Ask a server that ends the handshake; return the detail for the log."""
    with alerting(served) as port:
        async with asking(f"https://127.0.0.1:{port}/", tls=trusted) as ask:
            with pytest.raises(GateError) as caught:
                await ask("t0ken")
    assert (caught.value.code, caught.value.fault.status) == ("controller_unreachable", 503)
    assert "t0ken" not in str(caught.value)
    return caught.value.detail


async def test_a_certificate_of_the_named_authority_is_believed(authority: Pair, good: Pair) -> None:
    async with knowing(serve_tls(good), build_context(HTTPS, str(authority.cert))) as (ask, server):
        parsed = await ask("t0ken")
        await ask("t0ken")

    assert parsed.grant.command == "/bin/true"
    assert read_headers(server.requests[0])["host"] == f"127.0.0.1:{server.port}"
    assert server.connections == 1, "a TLS connection is used again"


async def test_the_very_certificate_of_the_controller_may_be_what_is_trusted(good: Pair) -> None:
    async with knowing(serve_tls(good), build_context(HTTPS, str(good.cert))) as (ask, _):
        assert (await ask("t0ken")).grant.command == "/bin/true"


async def test_the_public_authorities_do_not_know_a_private_one(good: Pair) -> None:
    assert "unable to get local issuer" in await be_unreachable(serve_tls(good), build_context(HTTPS))
    assert "unable to get local issuer" in await be_unreachable(serve_tls(good), None)


async def test_a_named_authority_takes_the_place_of_the_public_ones(authority: Pair) -> None:
    context = build_context(HTTPS, str(authority.cert))

    assert context is not None
    assert context.cert_store_stats()["x509"] == 1


async def test_a_certificate_of_another_authority_is_refused(folder: Path, good: Pair) -> None:
    other = make_authority(folder, "other")

    assert "issuer" in await be_unreachable(serve_tls(good), build_context(HTTPS, str(other.cert)))


async def test_a_certificate_that_signs_itself_is_refused(folder: Path, authority: Pair) -> None:
    lone = make_certificate(folder, "lone", None)

    assert "self-signed" in await be_unreachable(serve_tls(lone), build_context(HTTPS, str(authority.cert)))


async def test_a_certificate_for_another_address_is_refused(folder: Path, authority: Pair) -> None:
    elsewhere = make_certificate(folder, "elsewhere", authority, "127.0.0.2")

    detail = await be_unreachable(serve_tls(elsewhere), build_context(HTTPS, str(authority.cert)))

    assert "IP address mismatch" in detail


async def test_a_certificate_for_another_name_is_refused(folder: Path, authority: Pair) -> None:
    elsewhere = make_certificate(folder, "named", authority, "controller.example")

    detail = await be_unreachable(serve_tls(elsewhere), build_context(HTTPS, str(authority.cert)), "localhost")

    assert "Hostname mismatch" in detail
    assert "localhost" in detail


@pytest.mark.parametrize(("days", "says"), [((-3, -1), "certificate has expired"), ((1, 3), "not yet valid")])
async def test_a_certificate_out_of_its_time_is_refused(
    folder: Path, authority: Pair, days: tuple[int, int], says: str
) -> None:
    dated = make_certificate(folder, f"dated{days[0]}", authority, days=days)

    assert says in await be_unreachable(serve_tls(dated), build_context(HTTPS, str(authority.cert)))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
async def test_what_is_older_than_tls_1_2_is_refused(authority: Pair, good: Pair, version: ssl.TLSVersion) -> None:
    served = serve_tls(good)
    served.set_ciphers("DEFAULT:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        served.minimum_version = served.maximum_version = version

    assert "PROTOCOL_VERSION" in await hear_alert(served, build_context(HTTPS, str(authority.cert)))


async def test_tls_1_2_is_fine(authority: Pair, good: Pair) -> None:
    served = serve_tls(good)
    served.maximum_version = ssl.TLSVersion.TLSv1_2

    async with knowing(served, build_context(HTTPS, str(authority.cert))) as (ask, _):
        assert (await ask("t0ken")).grant.command == "/bin/true"


async def test_a_client_certificate_is_shown_to_who_asks_for_one(folder: Path, authority: Pair, good: Pair) -> None:
    mine = make_certificate(folder, "daemon", authority)

    context = build_context(HTTPS, str(authority.cert), str(mine.cert), str(mine.key))
    async with knowing(serve_tls(good, clients=authority), context) as (ask, _):
        assert (await ask("t0ken")).grant.command == "/bin/true"


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_without_the_client_certificate_that_is_asked_for_nobody_answers(
    authority: Pair, good: Pair, version: ssl.TLSVersion
) -> None:
    served = serve_tls(good, clients=authority)
    served.minimum_version = served.maximum_version = version

    detail = await hear_alert(served, build_context(HTTPS, str(authority.cert)))

    assert re.search("CERTIFICATE_REQUIRED|HANDSHAKE_FAILURE", detail)


@pytest.mark.parametrize(
    "first", [b"HTTP/1.1 400 Plain\r\n\r\n", b"", b"\x15\x03\x03\x00\x02\x02\x28"], ids=["http", "close", "alert"]
)
async def test_a_server_that_speaks_no_tls_is_asked_once(authority: Pair, first: bytes) -> None:
    connections = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        await reader.read(5)
        writer.write(first)
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with asking(url, tls=build_context(HTTPS, str(authority.cert))) as ask:
            with pytest.raises(GateError) as caught:
                await ask("t0ken")

    assert caught.value.code == "controller_unreachable"
    assert "TLS" in caught.value.detail
    assert connections == 1, "what TLS refuses does not heal"


async def test_a_tls_handshake_that_is_never_answered_ends_at_the_deadline_and_its_connection_too(
    authority: Pair,
) -> None:
    ended = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal ended
        await reader.read()
        writer.close()
        ended += 1

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
        async with asking(url, 0.1, tls=build_context(HTTPS, str(authority.cert))) as ask:
            answers = await asyncio.gather(*(ask("t0ken") for _ in range(10)), return_exceptions=True)
            await until(lambda: ended == 10, "the end of the connections")

    assert [answer.code for answer in answers] == ["controller_timeout"] * 10


# Files that are not fit.


@pytest.mark.parametrize(
    "content", [b"", b"no PEM\n", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]
)
def test_an_authority_that_is_no_pem_is_named(folder: Path, content: bytes) -> None:
    (folder / "odd.pem").write_bytes(content)

    with pytest.raises(ValueError, match=r"^controller_ca = '.*odd\.pem': .*; name a file of certificates in PEM$"):
        build_context(HTTPS, str(folder / "odd.pem"))


def test_a_key_is_no_authority(good: Pair) -> None:
    with pytest.raises(ValueError, match=r"^controller_ca = "):
        build_context(HTTPS, str(good.key))


def test_a_key_that_does_not_belong_to_the_certificate_is_named(authority: Pair, good: Pair) -> None:
    with pytest.raises(ValueError, match=r"^controller_cert = .*, controller_key = .*key values mismatch; name"):
        build_context(HTTPS, "", str(good.cert), str(authority.key))


def test_files_that_are_gone_are_named(folder: Path, good: Pair) -> None:
    with pytest.raises(ValueError, match=r"^controller_ca = .*No such file"):
        build_context(HTTPS, str(folder / "none"))
    with pytest.raises(ValueError, match=r"^controller_cert = .*No such file"):
        build_context(HTTPS, "", str(good.cert), str(folder / "none"))


def test_a_key_under_a_password_is_refused_without_asking_for_it(folder: Path, good: Pair) -> None:
    write_locked(good, folder / "locked.key")

    with pytest.raises(ValueError, match=r"^controller_key = .*is encrypted"):
        build_context(HTTPS, "", str(good.cert), str(folder / "locked.key"))


def test_certificates_for_a_url_without_tls_are_a_mistake(authority: Pair, good: Pair) -> None:
    assert build_context("http://127.0.0.1/") is None
    with pytest.raises(ValueError, match=r"^controller_ca = .*https://"):
        build_context("http://127.0.0.1/", str(authority.cert))
    with pytest.raises(ValueError, match=r"^controller_cert = .*https://"):
        build_context("http://127.0.0.1/", "", str(good.cert), str(good.key))
