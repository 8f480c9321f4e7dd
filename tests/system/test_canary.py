"""What is secret stays where it belongs: after every door, every way in and every way to be turned away, no token, key,
environment value, input or output is found in a log, an audit line, a metric, a file, a command line, an answer, or the
environment of a process that it was not granted to.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jwt
import pytest
from aviary import AUDIENCE, Answers, Aviary, House, Signed, signing_controller
from canaries import find_all, list_tree, read_command_lines, read_environments, read_files
from daemon_process import NATIVE, PROGRAM, DaemonProcess, daemon_environ, send_json
from scripted_server import respond
from terminal_client import hear_all, hear_until
from websockets.asyncio.client import connect
from websockets.exceptions import InvalidStatus

WAYS = ("query", "header", "subprotocol")
# Prints what it was given, then what it is told, until it is told to end.
SCRIPT = 'stty -echo; echo "ready $SHOWN"; while read -r line; do echo "heard $line"; done'


@pytest.fixture
async def house(tmp_path: Path, launch_daemon: Callable[..., DaemonProcess]) -> AsyncIterator[House]:
    aviary, answers = Aviary(), Answers()
    key_file, tokens = tmp_path / "jwt.key", tmp_path / "tokens.toml"
    key_file.write_text(aviary.keep("jwt-key"))
    tokens.write_text("")
    key_file.chmod(0o600)
    environ = daemon_environ(
        HMAC=aviary.keep("hmac-key"), SECOND=aviary.keep("jwt-key-2"), OF_DAEMON=aviary.keep("variable")
    )
    async with signing_controller(environ["HMAC"], answers) as controller:
        flags = (
            *("--controller-url", controller.url, "--controller-hmac-key", "env:HMAC", "--jwt-audience", AUDIENCE),
            *("--jwt-key", f"HS256:file:{key_file}", "--jwt-key", "HS512:env:SECOND", "--tokens-file", str(tokens)),
            *("--state-dir", str(tmp_path / "state"), "--audit-log", str(tmp_path / "audit.log"), "--token-once"),
            *("--log-level", "debug", "--log-format", "json"),
        )
        daemon = launch_daemon("serve", "--listen", "127.0.0.1:0", *flags, environ=environ)
        await daemon.ready()
        yield House(daemon, aviary, tmp_path, flags, environ, answers)


# Ways to be let in.


def send_token(way: str, token: str) -> tuple[str, dict[str, str], list[str]]:
    """Return the query, the headers and the subprotocols that send a token."""
    match way:
        case "query":
            return f"?token={quote(token, safe='')}", {}, [NATIVE]
        case "header":
            return "", {"Authorization": f"Bearer {token}"}, [NATIVE]
        case _:
            return "", {}, [NATIVE, "bearer." + base64.urlsafe_b64encode(token.encode()).rstrip(b"=").decode()]


def open_terminal(house: House, way: str, token: str) -> connect:
    query, headers, protocols = send_token(way, token)
    url = f"ws://127.0.0.1:{house.daemon.port}/ws{query}"
    return connect(url, additional_headers=headers, subprotocols=protocols, proxy=None, compression=None)


async def talk(house: House, kind: str, way: str) -> None:
    """Hold a conversation, and look at command lines and environments meanwhile."""
    name, aviary = f"{kind}-by-{way}", house.aviary
    granted, argument = aviary.keep(f"env of {name}"), aviary.keep(f"argument of {name}")
    typed = aviary.keep(f"input of {name}")
    grant = {"command": "/bin/bash", "args": ["-c", SCRIPT, "bash", argument], "env": {"SHOWN": granted}}
    token = house.make_token(kind, way, grant)

    async with open_terminal(house, way, token) as websocket:
        heard = await hear_until(websocket, granted.encode())
        await websocket.send(typed.encode() + b"\n")
        await hear_until(websocket, f"heard {typed}".encode(), heard)
        for message in ("{" + typed, f'{{"type":"{typed}"}}', f'{{"type":"signal","name":"{typed}"}}'):
            await websocket.send(message)
        children = list(list_tree(house.daemon.pid))
        lines, environments = read_command_lines([house.daemon.pid, *children]), read_environments(children)
        await send_json(websocket, type="eof")
        await hear_all(websocket, heard)

    # What belongs to the command is with the command; so what is looked for is looked for in the right place.
    assert find_all([aviary.birds[f"env of {name}"]], environments)
    assert find_all([aviary.birds[f"argument of {name}"]], lines)
    assert aviary.find(environments, f"env of {name}") == set()
    assert aviary.find(lines, f"argument of {name}") == set()
    assert len(heard.errors) == 3


# Ways to be turned away.


async def be_refused(house: House, way: str, token: str) -> int:
    """Knock in vain, then ask why; return the status."""
    with pytest.raises(InvalidStatus) as refused:
        await open_terminal(house, way, token)
    response = refused.value.response
    told = repr(response.headers).encode() + (response.body or b"")
    query, headers, protocols = send_token(way, token)
    headers |= {"Sec-WebSocket-Protocol": ", ".join(protocols), "Accept": "application/problem+json"}
    told += await ask(house.daemon, "GET", f"/ws{query}", headers)
    house.aviary.answers[f"answer {len(house.aviary.answers)} by {way}"] = told
    return response.status_code


async def ask(
    daemon: DaemonProcess, method: str, path: str, headers: dict[str, str] | None = None, body: str = ""
) -> bytes:
    """Send a request as it is, and return the answer as it is."""
    own = {"Host": f"127.0.0.1:{daemon.port}", "Connection": "close", "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in {**own, **(headers or {})}.items())
    return await send_raw(daemon, f"{method} {path} HTTP/1.1\r\n{head}\r\n{body}".encode())


async def send_raw(daemon: DaemonProcess, data: bytes) -> bytes:
    """Send bytes, end the sending, and return all that comes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
    writer.write(data)
    try:
        async with asyncio.timeout(30):
            return await reader.read()
    finally:
        writer.transport.abort()


def make_bad_answers(secret: str) -> Answers:
    """Return what a controller might answer that is no grant, with a secret in each place of it."""
    grant = {"command": "/bin/true", "env": {"SECRET": secret}}
    documents: dict[str, Any] = {
        "an env name": grant | {"env": {f"LD_{secret}": "1"}},
        "an env of the wrong type": grant | {"env": {"SECRET": [secret]}},
        "an env that may not be set": grant | {"env": {"LD_PRELOAD": secret}},
        "an env that is too large": grant | {"env": {"SECRET": secret * 3000}},
        "a TERM that is none": grant | {"env": {"OTHER": secret, "TERM": "a b"}},
        "a command that is not there": grant | {"command": "/no/such/command"},
        "a directory that is not there": grant | {"cwd": "/no/such/directory"},
        "a user that is not there": grant | {"user": "nobody-has-this-name"},
        "no command": {"env": {"SECRET": secret}},
        "an unknown key": grant | {secret: 1, "command": "/no/such"},
    }
    answers: Answers = {name: Signed(json.dumps(document).encode()) for name, document in documents.items()}
    return answers | {
        "no object": Signed(json.dumps([secret]).encode()),
        "no json": Signed(f'{{"command": "{secret}'.encode()),
        "no signature": respond(json.dumps(grant)),
        "another signature": respond(json.dumps(grant), "200 OK", f"X-WS-Subprocess-Signature: v1={secret}"),
        "no header": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n" + secret.encode() + b"\r\n\r\n12345",
        "no http": secret.encode() + b"\r\n\r\n",
        "an error": respond(secret, f"500 {secret}"),
        "another place": respond("", "302 Found", f"Location: http://127.0.0.1/{secret}"),
    }


async def be_refused_for_all_reasons(house: House, way: str) -> None:
    aviary = house.aviary
    for name, answer in make_bad_answers(aviary.keep(f"in an answer by {way}")).items():
        token = aviary.keep(f"token of {name} by {way}")
        house.answers[token] = answer
        assert await be_refused(house, way, token) in (403, 502)
    assert await be_refused(house, way, aviary.keep(f"unknown by {way}")) == 403
    used = aviary.birds[f"signed-by-{way}"].text
    assert await be_refused(house, way, used) == 403
    changed = used[:-8] + ("A" * 8)
    assert await be_refused(house, way, aviary.keep(f"changed by {way}", changed)) == 403
    expired = jwt.encode({"aud": AUDIENCE, "iat": 1, "exp": 2}, aviary.birds["jwt-key"].text, "HS256")
    assert await be_refused(house, way, aviary.keep(f"expired by {way}", expired)) == 403


async def knock_at_every_door(house: House) -> None:
    """Show a token at every route, with every method, in every place of a request, and in what is no request at all."""
    daemon, aviary = house.daemon, house.aviary
    for path in (
        "/",
        "/ws",
        "/healthz",
        "/readyz",
        "/metrics",
        "/static/page.js",
        "/static/",
        "/nope",
        "//ws",
        "/%77s",
    ):
        for method in ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT"):
            token = aviary.keep(f"{method} {path}")
            body = "" if method in ("GET", "HEAD") else token
            headers = {"Authorization": f"Bearer {token}", "Cookie": f"a={token}", "Referer": f"http://x/?t={token}"}
            answer = await ask(daemon, method, f"{path}?token={quote(token, safe='')}&rows=x", headers, body)
            if answer:
                aviary.answers[f"answer to {method} {path}"] = answer
    token = aviary.keep("in odd places")
    good = f"GET /ws?token={quote(token, safe='')} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {token}\r\n"
    upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: eA==\r\n"
    # Not in Host, Origin or a size: the log says what was sent there, for the sake of who has to mend it.
    for number, text in enumerate(
        (
            f"{token}\r\n\r\n",
            f"GET {token} HTTP/1.1\r\n\r\n",
            f"GET /{quote(token)} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
            f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\n{token}\r\n\r\n",
            good + f"X: {'x' * 20_000}\r\n\r\n",
            good + f"Content-Length: {token}\r\n\r\n",
            good + upgrade + "\r\n",
            good + upgrade.replace("eA==", "dGhlIHNhbXBsZSBub25jZQ==") + f"Sec-WebSocket-Extensions: {token};;\r\n\r\n",
        )
    ):
        aviary.answers[f"odd answer {number}"] = await send_raw(daemon, text.encode())


# The commands beside the daemon.


async def run_commands(house: House) -> dict[str, bytes]:
    """Return what the other commands print, and what `ps` shows of them meanwhile."""
    aviary, told = house.aviary, {}
    token = aviary.birds["static-by-header"].text
    # What is in it is told, for that is what it is looked at for; itself it is not.
    signed = house.make_token("signed", "inspection", {"command": "/bin/true"})
    key = aviary.keep("misplaced")
    runs: list[tuple[tuple[str, ...], str, dict[str, str]]] = [
        (("config", "show", *house.flags), "", {}),
        (("config", "show", "--json", *house.flags), "", {}),
        (("config", "check", *house.flags), "", {}),
        (("config", "check"), "", {"WS_SUBPROCESS_JWT_KEYS": key, "WS_SUBPROCESS_CONTROLLER_HMAC_KEY": key}),
        (("doctor", *house.flags), "", {}),
        (("doctor", "--json", *house.flags), "", {}),
        (("token", "hash", "--name", "ci"), token, {}),
        (("token", "inspect", "--key", str(house.folder / "jwt.key")), signed, {}),
        (("token", "inspect", "--key", "env:SECOND"), signed, {}),
        (("token", "mint", "--key", f"env:{key}", "--audience", AUDIENCE, "--", "/bin/true"), "", {}),
    ]
    for arguments, stdin, variables in runs:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=house.environ | variables,
        )
        if not any(key in argument for argument in arguments):
            told |= read_command_lines([process.pid])
        output, _ = await asyncio.wait_for(process.communicate(stdin.encode()), 60)
        assert output
        told[" ".join(arguments[:3])] = told.get(" ".join(arguments[:3]), b"") + output
    return told


async def test_no_secret_is_found_where_it_does_not_belong(house: House) -> None:
    aviary, daemon = house.aviary, house.daemon
    for kind in ("signed", "static", "controller"):
        for way in WAYS:
            await talk(house, kind, way)
    for way in WAYS:
        await be_refused_for_all_reasons(house, way)
    await knock_at_every_door(house)
    await daemon.sessions_reach(0)
    commands = await run_commands(house)
    metrics = (await daemon.get("/metrics")).content
    idle = read_command_lines([daemon.pid, *daemon.children()])
    await daemon.end()

    log, audit = daemon.log_lines(), (house.folder / "audit.log").read_text().splitlines()
    decisions = [json.loads(line)["decision"] for line in audit]
    assert decisions.count("granted") == len(WAYS) * 3
    assert decisions.count("refused") > 50
    assert log
    files = read_files(house.folder / "state") | read_files(daemon.folder)
    assert any(name.endswith("sqlite3") for name in files)
    places = {"metrics": metrics, "audit": "\n".join(audit).encode(), **files, **aviary.answers, **commands, **idle}
    assert aviary.find(places) == set()
    assert len(aviary.birds) > 150


async def test_the_token_of_one_command_is_printed_once_and_found_nowhere_else(
    launch_daemon: Callable[..., DaemonProcess],
) -> None:
    aviary = Aviary()
    daemon = launch_daemon("run", "--writable", "--log-level", "debug", "--", "/bin/bash", "-c", SCRIPT)
    await daemon.ready()
    address, _, token = daemon.url.partition("/#token=")
    daemon.addresses = (address,)
    aviary.keep("token", token)
    typed = aviary.keep("input")

    for way in WAYS:
        query, headers, protocols = send_token(way, token)
        url = f"{address.replace('http', 'ws', 1)}/ws{query}"
        async with connect(url, additional_headers=headers, subprotocols=protocols, proxy=None) as websocket:
            heard = await hear_until(websocket, b"ready")
            await websocket.send(typed.encode() + b"\n")
            await hear_until(websocket, f"heard {typed}".encode(), heard)
            children = list(list_tree(daemon.pid))
            shown = read_command_lines([daemon.pid, *children]) | read_environments([daemon.pid, *children])
            assert aviary.find(shown) == set()
    await daemon.end()

    assert daemon.output.count(token) == 1
    assert aviary.find({"log": daemon.log.encode()}) == set()
    assert "session ended" in daemon.log
