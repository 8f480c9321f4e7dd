"""Calls to URLs that clients name: where they may go, what they carry, and how often they are tried."""

import asyncio
import base64
import hashlib
import hmac
import ipaddress
import json
import sqlite3
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from certificates import make_authority, make_certificate
from command_daemon import COMMANDS, CommandDaemon, StartCommands
from observing import until
from scripted_server import ScriptedServer, read_body, read_headers, respond, scripted, target

from ws_subprocess.auth.outgoing import Outgoing, OutgoingRules, UndeliveredError, unwrap
from ws_subprocess.errors import RequestError

KEY = b"k" * 32
LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)


def resolving(*addresses: str):
    """Return a resolver that knows these addresses for every name."""

    async def resolve(host: str, port: int) -> Sequence[str]:
        return addresses

    return resolve


def build_rules(port: int = 443, **rules) -> OutgoingRules:
    return OutgoingRules(KEY, ports=frozenset({port, 443, 80}), **rules)


DENIED = [
    "http://example.com/",
    "file:///etc/passwd",
    "gopher://example.com/",
    "ftp://example.com/",
    "data:text/plain,x",
    "https:///x",
    "https://user@example.com/",
    "https://user:pass@example.com/",
    "https://example.com:22/",
    "https://127.0.0.1/",
    "https://127.1/",
    "https://[::1]/",
    "https://0.0.0.0/",
    "https://0x7f000001/",
    "https://2130706433/",
    "https://017700000001/",
    "https://[::ffff:169.254.169.254]/",
    "https://169.254.169.254/",
    "https://[fd00::1]/",
    "https://[fec0::1]/",
    "https://[fe80::1%25lo]/",
    "https://10.0.0.1/",
    "https://224.0.0.1/",
    "https://255.255.255.255/",
    "https://[64:ff9b::7f00:1]/",
    "https://[2002:7f00:1::]/",
    "https://localhost/",
    "https://no-such-host.invalid/",
    "https://exa mple.com/",
    "https://" + "a" * 3000,
    "not a url",
    "",
]


@pytest.mark.parametrize("url", DENIED)
async def test_a_place_that_is_not_public_is_denied(url: str) -> None:
    with closing(Outgoing(build_rules())) as outgoing, pytest.raises(RequestError) as caught:
        await outgoing.check(url)

    assert caught.value.code == "callback_denied"


@pytest.mark.parametrize("address", ["127.0.0.1", "10.0.0.1", "::1", "::ffff:10.0.0.1", "fe80::1%2"])
async def test_a_name_that_leads_inside_is_denied(address: str) -> None:
    outgoing = Outgoing(build_rules(), resolve=resolving("93.184.216.34", address))

    with pytest.raises(RequestError) as caught:
        await outgoing.check("https://example.com/")

    assert address not in caught.value.detail


async def test_a_name_whose_servers_are_silent_is_denied_in_time() -> None:
    async def wait_for_ever(host: str, port: int) -> Sequence[str]:
        await asyncio.Event().wait()
        return ()

    outgoing = Outgoing(build_rules(), resolve=wait_for_ever, attempt_timeout_s=0.05)

    async with asyncio.timeout(5.0):
        with pytest.raises(RequestError) as caught:
            await outgoing.check("https://example.com/")

    assert caught.value.code == "callback_denied"


async def test_nobody_learns_whether_a_name_is_known_here() -> None:
    async def know_nothing(host: str, port: int) -> Sequence[str]:
        raise OSError("Name or service not known")

    details = set()
    for resolve in (know_nothing, resolving("10.0.0.1")):
        with pytest.raises(RequestError) as caught:
            await Outgoing(build_rules(), resolve=resolve).check("https://intranet.example/")
        details.add(caught.value.detail)

    assert len(details) == 1


async def test_public_places_and_those_that_are_listed_are_allowed() -> None:
    listed = build_rules(http_hosts=frozenset({"hooks.example"}), networks=LOOPBACK)

    await Outgoing(build_rules(), resolve=resolving("93.184.216.34", "2606:2800:220:1::1")).check(
        "https://example.com/"
    )
    with closing(Outgoing(listed)) as outgoing:
        await outgoing.check("https://127.0.0.1/")
    await Outgoing(listed, resolve=resolving("127.0.0.1")).check("http://Hooks.example/x?y=z")


@pytest.mark.parametrize("address", ["::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:a00:1::"])
def test_an_address_within_another_is_found(address: str) -> None:
    assert unwrap(ipaddress.ip_address(address)) == ipaddress.ip_address("10.0.0.1")


async def test_a_name_is_looked_at_again_when_it_is_called() -> None:
    answers = iter([["93.184.216.34"], ["127.0.0.1"]])

    async def rebind(host: str, port: int) -> Sequence[str]:
        return next(answers)

    outgoing = Outgoing(build_rules(), resolve=rebind)
    await outgoing.check("https://example.com/")

    with pytest.raises(UndeliveredError):
        await outgoing.post("https://example.com/", b"{}", "id", 1)


@asynccontextmanager
async def receiving(*answers: bytes) -> AsyncIterator[ScriptedServer]:
    """Serve these answers, the last one for ever."""
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(left.pop(0) if len(left) > 1 else left[0])

    async with scripted(answer) as server:
        yield server


async def test_a_call_is_signed_and_names_the_host() -> None:
    async with receiving(respond("ok")) as server:
        rules = build_rules(server.port, http_hosts=frozenset({"hooks.example"}), networks=LOOPBACK)
        outgoing = Outgoing(rules, resolve=resolving("127.0.0.1"))

        await outgoing.post(f"http://hooks.example:{server.port}/done?x=1", b'{"a": 1}', "job-1", 1_700_000_000)

        request = server.requests[0]
    headers = read_headers(request)
    expected = hmac.new(KEY, b'job-1.1700000000.{"a": 1}', hashlib.sha256).digest()
    assert request.startswith(b"POST /done?x=1 HTTP/1.1\r\n")
    assert headers["host"] == f"hooks.example:{server.port}"
    assert headers["webhook-id"] == "job-1"
    assert headers["webhook-timestamp"] == "1700000000"
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"
    assert read_body(request) == b'{"a": 1}'


@pytest.mark.parametrize(
    ("answer", "is_final"),
    [
        (respond("", "302 Found", "Location: http://127.0.0.1/"), True),
        (respond("", "410 Gone"), True),
        (respond("", "429 Too Many Requests"), False),
        (respond("", "500 Internal Server Error"), False),
        (b"no http\r\n\r\n", False),
    ],
)
async def test_another_answer_than_success_is_none(answer: bytes, is_final: bool) -> None:
    async with receiving(answer) as server:
        rules = build_rules(server.port, http_hosts=frozenset({"127.0.0.1"}), networks=LOOPBACK)

        with closing(Outgoing(rules)) as outgoing, pytest.raises(UndeliveredError) as caught:
            await outgoing.post(f"http://127.0.0.1:{server.port}/", b"{}", "id", 1)

        assert caught.value.is_final == is_final
        assert len(server.requests) == 1


async def test_the_certificate_must_be_that_of_the_name(tmp_path: Path) -> None:
    authority = make_authority(tmp_path)
    pair = make_certificate(tmp_path, "hooks", authority, "hooks.example")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pair.cert, pair.key)
    async with scripted(respond("ok"), tls=context) as server:
        trusting = ssl.create_default_context(cafile=str(authority.cert))
        outgoing = Outgoing(build_rules(server.port, networks=LOOPBACK), trusting, resolving("127.0.0.1"))

        await outgoing.post(f"https://hooks.example:{server.port}/", b"{}", "id", 1)
        with pytest.raises(UndeliveredError):
            await outgoing.post(f"https://other.example:{server.port}/", b"{}", "id", 1)

        assert len(server.requests) == 1


def write_file(folder: Path, server: ScriptedServer) -> str:
    """Return a commands file that allows calls to this server."""
    key = folder / "key"
    key.write_bytes(KEY)
    key.chmod(0o600)
    lines = [
        "[callbacks]",
        f'hmac_key = "file:{key}"',
        f"ports = [{server.port}]",
        'http_hosts = ["127.0.0.1"]',
        'networks = ["127.0.0.0/8"]',
    ]
    return COMMANDS + "\n".join(lines)


async def test_a_client_is_called_back_when_its_job_has_ended(start_commands: StartCommands, tmp_path: Path) -> None:
    async with receiving(respond("ok")) as server:
        commands = await start_commands(commands=write_file(tmp_path, server))
        url = f"http://127.0.0.1:{server.port}/hook"
        key = await commands.start(
            "sh", args=["echo out; exit 3"], callback_url=url, callback_context={"ticket": 42}, retention="keep"
        )
        await until(lambda: server.requests, "the call")

        message = json.loads(read_body(server.requests[0]))
        report = await commands.report("sh", key)
    assert target(server.requests[0]) == "/hook"
    assert message == {"type": "job.ended", "data": {"name": "sh", "callback_context": {"ticket": 42}, **report}}
    assert report["returncode"] == 3


async def test_a_result_can_be_fetched_when_its_url_hears_of_it(start_commands: StartCommands, tmp_path: Path) -> None:
    """Also when it takes a while to be written down."""
    seen: list[str] = []

    async def fetch(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append((await commands.get("sh", key)).json()["report"])
        writer.write(respond("ok"))

    async with scripted(fetch) as server:
        commands: CommandDaemon = await start_commands(commands=write_file(tmp_path, server))
        app, go = commands.http.app, tmp_path / "go"
        script = f"while [ ! -e {go} ]; do sleep 0.01; done; echo x"
        key = await commands.start("sh", args=[script], callback_url=f"http://127.0.0.1:{server.port}/")
        await until(lambda: len(app.registry) == 1, "the command")
        with closing(sqlite3.connect(commands.state_dir / "jobs.sqlite3", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            go.touch()
            await until(lambda: app.jobs._waiters == 1, "a delivery that waits")
            seen.append("not written down yet")
            other.execute("ROLLBACK")
        await until(lambda: len(seen) == 2, "the call")

    assert seen == ["not written down yet", "x\n"]


async def test_a_call_that_fails_is_made_again_under_the_same_name(
    start_commands: StartCommands, tmp_path: Path
) -> None:
    async with receiving(respond("", "503 Service Unavailable"), respond("ok")) as server:
        commands = await start_commands(commands=write_file(tmp_path, server))
        await commands.start("echo", callback_url=f"http://127.0.0.1:{server.port}/")
        await until(lambda: len(server.requests) == 2, "the second call")

    assert len({read_headers(request)["webhook-id"] for request in server.requests}) == 1
    assert len({read_body(request) for request in server.requests}) == 1


async def test_a_url_that_may_not_be_called_runs_nothing(start_commands: StartCommands, tmp_path: Path) -> None:
    async with receiving(respond("ok")) as server:
        commands = await start_commands(commands=write_file(tmp_path, server))

        response = await commands.post("keep", callback_url="https://169.254.169.254/latest/meta-data")

        assert (response.status_code, response.json()["code"]) == (400, "callback_denied")
        assert (await commands.client.get("/commands/keep/jobs")).json()["jobs"] == []
        assert not server.requests


async def test_whom_the_gate_refuses_has_no_names_looked_up(start_commands: StartCommands, tmp_path: Path) -> None:
    async with receiving(respond("ok")) as server:
        commands = await start_commands(commands=write_file(tmp_path, server))

        response = await commands.client.post(
            "/commands/echo",
            json={"callback_url": "https://10.0.0.1/"},
            headers={"Authorization": "Bearer unknown"},
        )

        assert (response.status_code, response.json()["code"]) == (403, "denied")


async def test_what_is_to_be_delivered_has_a_bound_in_bytes(start_commands: StartCommands, tmp_path: Path) -> None:
    async with receiving(respond("", "503 Service Unavailable")) as server:
        commands = await start_commands(commands=write_file(tmp_path, server))
        callbacks = commands.http.app._callbacks
        assert callbacks is not None
        callbacks._most_bytes = 1000
        url = f"http://127.0.0.1:{server.port}/"

        for _ in range(3):
            await commands.run("sh", args=["head -c 2000 /dev/zero"], callback_url=url, force_unique_key=True)

        await until(lambda: server.requests, "the first call")
        assert len(callbacks._tasks) == 1
        assert len({read_headers(request)["webhook-id"] for request in server.requests}) == 1
