"""What `ws-subprocess doctor` finds out about those whom the gate asks, and that it asks them nothing itself."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import formatdate
from pathlib import Path

import pytest
from certificates import Pair, make_authority, make_certificate, serve_tls
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from observing import until
from scripted_server import respond, scripted

from ws_subprocess.auth.tokens_file import show_hash
from ws_subprocess.cli.checks import gate, network
from ws_subprocess.cli.checks.finding import Finding, State
from ws_subprocess.config.settings import Settings

Check = Callable[[Settings], Iterator[Finding]]
DAY_S = 86_400


async def run(check: Check, settings: Settings) -> list[Finding]:
    """Return what a check finds; in a thread, for it blocks and the server is here."""
    return await asyncio.to_thread(lambda: list(check(settings)))


async def run_one(check: Check, settings: Settings) -> Finding:
    (finding,) = await run(check, settings)
    return finding


@pytest.fixture(name="authority")
def make_ca(tmp_path: Path) -> Pair:
    return make_authority(tmp_path)


@asynccontextmanager
async def silent(greeting: bytes = b"") -> AsyncIterator[tuple[int, list[bytes]]]:
    """Listen, on the port given, and say nothing but `greeting`; the list has what each client said in all."""
    heard: list[bytes] = []

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        try:
            heard.append(await reader.read())
        except ConnectionResetError:  # It left without reading what we said.
            heard.append(b"reset")
        finally:
            writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1], heard
        await until(lambda: heard, "the client's end")


async def check_tls_controller(authority: Pair, server: Pair) -> Finding:
    async with scripted(b"", serve_tls(server)) as there:
        url = f"https://127.0.0.1:{there.port}/ask"
        finding = await run_one(gate.check_controller, Settings(controller_url=url, controller_ca=str(authority.cert)))
        await until(lambda: there.closed == there.connections, "the client's end")
    assert there.requests == []
    return finding


async def test_a_controller_is_connected_to_and_asked_nothing() -> None:
    async with silent() as (port, heard):
        finding = await run_one(gate.check_controller, Settings(controller_url=f"http://127.0.0.1:{port}/ask"))

    assert finding.state is State.OK
    assert f"reached at 127.0.0.1:{port} in " in finding.found
    assert heard == [b""]


async def test_a_controller_s_unix_socket_is_connected_to_in_place_of_its_host(tmp_path: Path) -> None:
    path = str(tmp_path / "c.sock")

    async with scripted(b"", socket=path) as there:
        settings = Settings(controller_url="http://nobody.invalid/ask", controller_socket=path)
        finding = await run_one(gate.check_controller, settings)
        await until(lambda: there.closed == 1, "the client's end")

    assert (finding.state, there.connections, there.requests) == (State.OK, 1, [])
    assert path in finding.found


async def test_a_controller_that_is_not_there_is_a_problem_with_its_reason(tmp_path: Path) -> None:
    async with scripted(b"") as there:
        url = there.url
    nowhere = str(tmp_path / "none.sock")

    refused = await run_one(gate.check_controller, Settings(controller_url=url))
    nameless = await run_one(gate.check_controller, Settings(controller_url="http://nobody.invalid/ask"))
    absent = await run_one(gate.check_controller, Settings(controller_url=url, controller_socket=nowhere))

    assert {refused.state, nameless.state, absent.state} == {State.PROBLEM}
    assert refused.found == f"{url}: Connection refused"
    assert nameless.found.startswith("http://nobody.invalid/ask: ")
    assert absent.found == f"{url} through {nowhere}: No such file or directory"


async def test_a_good_certificate_is_told_with_its_last_day(tmp_path: Path, authority: Pair) -> None:
    finding = await check_tls_controller(authority, make_certificate(tmp_path, "good", authority, days=(-1, 100)))

    assert finding.state is State.OK
    assert finding.found.endswith(", 100 days")


async def test_a_certificate_that_expires_soon_is_a_warning(tmp_path: Path, authority: Pair) -> None:
    finding = await check_tls_controller(authority, make_certificate(tmp_path, "soon", authority, days=(-1, 13)))

    assert (finding.state, finding.advice) == (State.WARNING, "renew it")
    assert finding.found.endswith(", in 13 days")


async def test_an_expired_certificate_is_a_problem(tmp_path: Path, authority: Pair) -> None:
    finding = await check_tls_controller(authority, make_certificate(tmp_path, "late", authority, days=(-2, -1)))

    assert finding.state is State.PROBLEM
    assert "its certificate is refused: certificate has expired" in finding.found


async def test_a_controller_that_speaks_no_tls_is_a_problem(authority: Pair) -> None:
    async with silent(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _):
        url = f"https://127.0.0.1:{port}/"
        finding = await run_one(gate.check_controller, Settings(controller_url=url, controller_ca=str(authority.cert)))

    assert (finding.state, finding.advice) == (State.PROBLEM, "check that it speaks https there")


async def test_a_controller_that_takes_too_long_is_a_problem(authority: Pair) -> None:
    async with silent() as (port, _):
        url = f"https://127.0.0.1:{port}/"
        settings = Settings(controller_url=url, controller_ca=str(authority.cert), controller_timeout_s=0.1)
        finding = await run_one(gate.check_controller, settings)

    assert finding.state is State.PROBLEM
    assert "timed out" in finding.found


async def test_without_a_controller_there_is_nothing_to_reach(tmp_path: Path) -> None:
    finding = await run_one(gate.check_controller, Settings(tokens_file=str(tmp_path / "t")))

    assert (finding.state, finding.found) == (State.OK, "none: tokens are signed or static")


async def test_a_short_hmac_key_is_a_problem(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x" * 31)
    key.chmod(0o600)

    async with silent() as (port, _):
        url = f"http://127.0.0.1:{port}/ask"
        settings = Settings(controller_url=url, controller_hmac_key=f"file:{key}")
        _, finding = await run(gate.check_controller, settings)

    assert finding.state is State.PROBLEM
    assert "31 bytes, at least 32" in finding.found


@pytest.mark.parametrize(
    ("size", "mode", "state", "words"),
    [
        (32, 0o600, State.OK, "32 bytes, fit for HS256"),
        (31, 0o600, State.PROBLEM, "31 bytes, HS256 needs at least 32"),
        (32, 0o644, State.PROBLEM, "anyone may read or write it"),
    ],
)
async def test_a_secret_key_is_weighed(tmp_path: Path, size: int, mode: int, state: State, words: str) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"geheim" * 5 + b"!" * (size - 30))
    key.chmod(mode)

    finding = await run_one(gate.check_jwt_keys, Settings(jwt_keys=(f"HS256:file:{key}",), jwt_audience="a"))

    assert finding.state is state
    assert words in finding.found
    assert "geheim" not in str(finding)


async def test_a_short_rsa_key_is_a_problem(tmp_path: Path) -> None:
    public = rsa.generate_private_key(65537, 1024).public_key()
    key = tmp_path / "key.pem"
    key.write_bytes(public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo))

    finding = await run_one(gate.check_jwt_keys, Settings(jwt_keys=(f"RS256:file:{key}",), jwt_audience="a"))

    assert finding.state is State.PROBLEM
    assert "1024 bits, RS256 needs at least 2048" in finding.found


async def test_two_keys_of_one_name_are_a_problem(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_bytes(b"x" * 64)
    key.chmod(0o600)
    settings = Settings(jwt_keys=(f"k=HS256:file:{key}", f"k=HS512:file:{key}"), jwt_audience="a")

    findings = await run(gate.check_jwt_keys, settings)

    assert [finding.state for finding in findings] == [State.OK, State.OK, State.PROBLEM]
    assert "another key has the kid 'k'" in findings[2].found


def jwk_set(*kinds: str) -> str:
    x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"  # RFC 8037, appendix A.2.
    return json.dumps({"keys": [{"kty": kind, "crv": "Ed25519", "x": x, "kid": kind} for kind in kinds]})


async def check_issuer(answer: bytes) -> list[Finding]:
    async with scripted(answer) as there:
        findings = await run(gate.check_issuer, Settings(jwt_jwks_url=there.url, jwt_audience="a"))
        await until(lambda: there.closed == there.connections, "the client's end")
    return findings


async def test_an_issuer_s_usable_keys_are_counted() -> None:
    keys, clock = await check_issuer(respond(jwk_set("OKP", "oct")))

    assert (keys.state, keys.found.rpartition(": ")[2]) == (State.OK, "1 usable key")
    assert (clock.check, clock.state) == ("clock", State.OK)


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (respond(jwk_set("oct")), "none of its keys can be used"),
        (respond("[]"), "no JWK set"),
        (respond("", "404 Not Found"), "status 404, not 200"),
        (respond("x" * 300_000), "more than 262144 bytes"),
    ],
)
async def test_an_issuer_without_usable_keys_is_a_problem(answer: bytes, words: str) -> None:
    keys, _ = await check_issuer(answer)

    assert keys.state is State.PROBLEM
    assert words in keys.found


async def test_an_issuer_that_is_not_there_is_a_problem() -> None:
    async with scripted(b"") as there:
        url = there.url

    keys, _ = await run(gate.check_issuer, Settings(jwt_jwks_url=url, jwt_audience="a"))

    assert keys.state is State.PROBLEM
    assert url in keys.found


@pytest.mark.parametrize(
    ("ahead_s", "state", "word"),
    [(0, State.OK, "s "), (20, State.WARNING, "ahead"), (-20, State.WARNING, "behind"), (60, State.PROBLEM, "ahead")],
)
async def test_the_issuer_s_clock_is_compared_with_ours(ahead_s: int, state: State, word: str) -> None:
    date = f"Date: {formatdate(time.time() + ahead_s, usegmt=True)}"

    _, clock = await check_issuer(respond(jwk_set("OKP"), "200 OK", date))

    assert clock.state is state
    assert word in clock.found
    assert "jwt_leeway_s is 30" in clock.found


@pytest.mark.parametrize("now", [0.0, 4_200_000_000.0])
def test_a_year_that_cannot_be_is_a_problem(now: float) -> None:
    assert gate.judge_clock(now, None, 30.0).state is State.PROBLEM


def write_tokens(tmp_path: Path, *rests: str) -> Settings:
    path = tmp_path / "tokens.toml"
    entries = (
        f'[[token]]\nname = "n{number}"\nhash = "{show_hash(f"token {number}")}"\ndoors = ["terminal"]\n{rest}\n'
        for number, rest in enumerate(rests)
    )
    path.write_text("".join(entries))
    path.chmod(0o644)
    return Settings(tokens_file=str(path))


def test_static_tokens_are_counted(tmp_path: Path) -> None:
    settings = write_tokens(tmp_path, 'command = "/bin/sh"', 'command = "/bin/sh"')

    (finding,) = gate.check_tokens_file(settings)

    assert (finding.state, finding.found) == (State.OK, f"{settings.tokens_file}: 2 tokens")


def test_expired_tokens_and_commands_that_are_not_there_are_warnings(tmp_path: Path) -> None:
    settings = write_tokens(
        tmp_path, 'command = "/bin/sh"\nexpires = 2001-01-01', 'command = "/no/such"', 'command = "/bin/sh"'
    )

    expired, absent, counted = gate.check_tokens_file(settings)

    assert (expired.state, absent.state, counted.state) == (State.WARNING, State.WARNING, State.OK)
    assert expired.found.endswith("1 expired: n0")
    assert absent.found.endswith("names what cannot be executed: /no/such")


def test_doors_of_tokens_that_are_not_open_are_a_warning(tmp_path: Path) -> None:
    settings = write_tokens(tmp_path, 'command = "/bin/sh"')
    path = Path(settings.tokens_file)
    path.write_text(path.read_text().replace('["terminal"]', '["terminal", "process", "rpc", "payload"]'))

    shut, _ = gate.check_tokens_file(replace(settings, process_listen=("127.0.0.1:0",)))
    opened = [item.found for item in gate.check_tokens_file(replace(settings, process_door=True, rpc_door=True))]

    assert (shut.state, shut.found.rpartition(": ")[2]) == (State.WARNING, "payload, rpc")
    assert opened[0].endswith(": payload")


def test_each_mistake_in_the_file_of_tokens_is_a_problem(tmp_path: Path) -> None:
    settings = write_tokens(tmp_path, "", 'command = "/bin/sh"', 'comand = "/bin/sh"')

    findings = list(gate.check_tokens_file(settings))

    assert {finding.state for finding in findings} == {State.PROBLEM}
    assert [finding.found.split(": ")[1] for finding in findings] == [
        "token 1 ('n0')",
        "token 3 ('n2')",
        "token 3 ('n2')",
    ]


@pytest.mark.parametrize(
    ("days", "state", "words"),
    [
        ((-1, 100), State.OK, "certificate holds until"),
        ((-1, 3), State.WARNING, "in 3 days"),
        ((-2, -1), State.PROBLEM, "certificate expired on"),
    ],
)
def test_our_own_certificate_s_last_day_is_told(
    tmp_path: Path, days: tuple[int, int], state: State, words: str
) -> None:
    own = make_certificate(tmp_path, "own", None, days=days)

    (finding,) = network.check_tls(Settings(tls_cert=str(own.cert), tls_key=str(own.key)))

    assert finding.state is state
    assert words in finding.found


def test_a_key_of_another_certificate_is_a_problem(tmp_path: Path) -> None:
    own, other = (make_certificate(tmp_path, name, None) for name in ("own", "other"))

    (finding,) = network.check_tls(Settings(tls_cert=str(own.cert), tls_key=str(other.key)))

    assert finding.state is State.PROBLEM
    assert str(other.key) in finding.found
    assert finding.advice
