"""The catalogue's bodies of requests: refused before they are read, or as soon as they are known to be none."""

import asyncio
import gzip
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from catalogue import Entry, case
from expecting import PROBLEM as PROBLEM_LINE
from expecting import Audit, assert_nobody_was_asked, assert_nothing_ran, expect_http, memory_stays_flat, variants
from http_asking import PROBLEM, RPC, STARTS, begin, expect_answer, post, read_answer
from http_daemon import HttpDaemon, RawConnection
from http_doors import HTTP_LOOKS
from running_server import read_to_end
from threaded_daemon import TOKEN, ThreadedDaemon, threaded_daemon

from ws_subprocess.config.settings import Settings

Start = Callable[..., Awaitable[HttpDaemon]]
KIB, MIB = 1024, 1024 * 1024


@case("HT-01")
async def test_a_door_without_credentials(doors: HttpDaemon, audit: Audit, entry: Entry) -> None:
    asks = [("POST", path, json.dumps(body).encode()) for path, body in STARTS.items()]
    asks += [
        (method, ask.path.replace("/commands/true", "/commands/echo"), b"") for (method, _), ask in HTTP_LOOKS.items()
    ]

    with variants() as variant:
        for method, path, body in asks:
            for authorization in ("", "Basic dTpw"):
                with variant(f"{method} {path} {authorization}"):
                    headers = {**PROBLEM, "Content-Type": "application/json", "Authorization": authorization}
                    response = await doors.client.request(method, path, content=body, headers=headers)
                    expect_answer(entry, response, audit=audit)
                    assert response.headers["www-authenticate"] == "Bearer"

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-03")
async def test_what_a_page_may_send_unasked(doors: HttpDaemon, entry: Entry) -> None:
    types = (
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=b",
        "application/jsonx",
        "",
    )

    with variants() as variant:
        for kind in types:
            with variant(kind):
                expect_answer(entry, await post(doors, "/process", STARTS["/process"], Content_Type=kind))
        for path in STARTS:
            with variant(f"preflight {path}"):
                headers = {
                    "Origin": "https://evil.example",
                    "Access-Control-Request-Method": "POST",
                    "Authorization": "",
                }
                asked = await doors.client.options(path, headers=headers)
                assert asked.status_code >= 400
                assert not [name for name in asked.headers if name.startswith("access-control-")]

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-05")
async def test_a_body_that_says_it_is_too_big(open_doors: Start, entry: Entry) -> None:
    doors = await open_doors(max_body_bytes=KIB)

    with variants() as variant:
        for path in STARTS:
            for length in (KIB + 1, 10**18, 10**400):
                with variant(f"{path} {length}"[:60]):
                    async with doors.raw() as connection:
                        begin(connection, path, content_length=str(length))
                        if length == 10**400:
                            # No length that anything could have: the server itself refuses the head.
                            assert (await connection.read_head()).split()[1] in ("400", "413")
                            continue
                        reply = await read_answer(connection)
                        expect_http(entry, reply)
                        assert reply.get("connection") == "close"
                        assert await connection.reader.read() == b"", "and it is closed"

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


async def expect_all_refuse(doors: HttpDaemon, entry: Entry, send: Callable[[RawConnection, str], None]) -> None:
    """Fail unless every door answers what `send` sends it as the entry says, and does nothing else."""
    with variants() as variant:
        for path in STARTS:
            with variant(path):
                async with doors.raw() as connection:
                    send(connection, path)
                    expect_http(entry, await read_answer(connection))

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-06")
async def test_a_body_that_does_not_say_it_is_too_big(open_doors: Start, entry: Entry) -> None:
    def send(connection: RawConnection, path: str) -> None:
        begin(connection, path, content_length="", transfer_encoding="chunked")
        for _ in range(5):
            connection.writer.write(b"100\r\n" + b" " * 256 + b"\r\n")
        # The answer does not wait for an end that never comes.

    await expect_all_refuse(await open_doors(max_body_bytes=KIB), entry, send)


@case("HT-07")
async def test_a_client_that_asks_whether_to_send_too_much(open_doors: Start, entry: Entry) -> None:
    def send(connection: RawConnection, path: str) -> None:
        begin(connection, path, content_length=str(KIB + 1), expect="100-continue")

    await expect_all_refuse(await open_doors(max_body_bytes=KIB), entry, send)


@case("HT-08")
async def test_a_body_that_never_arrives(open_doors: Start, entry: Entry) -> None:
    doors = await open_doors(body_timeout_s=0.2)

    async def wait(path: str, sent: bytes) -> Any:
        async with doors.raw() as connection:
            begin(connection, path, sent, content_length="100")
            return await read_answer(connection)

    asks = [(path, sent) for path in STARTS for sent in (b"", b'{"')]
    replies = await asyncio.gather(*(wait(*ask) for ask in asks))

    with variants() as variant:
        for ask, reply in zip(asks, replies, strict=True):
            with variant(ask):
                expect_http(entry, reply)
                assert reply.get("connection") == "close"
    assert entry.invariant == f"{Settings().body_timeout_s:g} s"
    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-09")
async def test_a_bomb_of_gzip(doors: HttpDaemon, entry: Entry) -> None:
    bomb = gzip.compress(bytes(256 * MIB))

    with variants() as variant:
        for path in STARTS:
            for encoding in ("gzip", "GZIP", "deflate", "br", "identity, gzip"):
                with variant(f"{path} {encoding}"), memory_stays_flat(4 * MIB):
                    expect_answer(entry, await post(doors, path, bomb, Content_Encoding=encoding))

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


GARBAGE = {
    "garbage": b"\x00\xff{",
    "nothing": b"",
    "duplicate keys": b'{"cmd": "true", "cmd": "true", "params": [], "alias": "a"}',
    "deep": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "NaN": b'{"cmd": "true", "params": [], "alias": "a", "timeout": NaN}',
    "Infinity": b'{"cmd": "true", "params": [], "alias": "a", "timeout": -Infinity}',
    "not UTF-8": '{"alias": "a"}'.encode("utf-16"),
    "more after it": b"{} x",
}


@case("HT-10")
@pytest.mark.parametrize("path", ["/process", "/commands/echo", "/payloads"])
async def test_what_is_no_json(doors: HttpDaemon, entry: Entry, path: str) -> None:
    with variants() as variant:
        for name, body in GARBAGE.items():
            with variant(name):
                expect_answer(entry, await post(doors, path, body))
                if path == "/process":
                    old = await post(doors, path, body, Accept="*/*")
                    assert old.status_code == entry.wants("http", "old form").status
                    assert old.text.startswith('[Rexec] InvalidCreateProcessRequest : "')

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-10")
@pytest.mark.parametrize("path", RPC)
async def test_a_call_that_is_no_json(doors: HttpDaemon, entry: Entry, path: str) -> None:
    with variants() as variant:
        for name, body in GARBAGE.items():
            with variant(name):
                response = await post(doors, path, body)
                assert response.status_code == entry.wants("http", "rpc").status
                assert response.json()["ok"] is False
                assert response.json()["message"] == "Request must be valid JSON."

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


# Files.

FORM = "multipart/form-data; boundary=frontier"
END = b"--frontier--\r\n"


def part(name: str, content: bytes = b"x", *headers: str, filename: str | None = "f") -> bytes:
    """Return one part with its boundary before it."""
    file = "" if filename is None else f'; filename="{filename}"'
    lines = [f'Content-Disposition: form-data; name="{name}"{file}', *headers]
    return b"--frontier\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def ask_for(*args: str) -> bytes:
    return part("request_json", json.dumps({"args": args}).encode(), filename=None)


async def upload(daemon: HttpDaemon, content: bytes, **headers: str) -> httpx.Response:
    lines = {**PROBLEM, "Content-Type": FORM, **headers}
    return await daemon.client.post("/commands/cat", content=content, headers=lines)


@case("HT-21")
async def test_two_uploads_of_one_name(doors: HttpDaemon, entry: Entry) -> None:
    twice = part("f", b"one") + part("f", b"two") + ask_for("@f") + END
    as_field = part("f", b"one") + part("f", b"two", filename=None) + ask_for("@f") + END

    with variants() as variant:
        for body in (twice, as_field):
            with variant(body):
                expect_answer(entry, await upload(doors, body))
        with variant("the same file name in two fields"):
            entry.wants("ok", "one file name in two fields")
            both = part("a", b"one ", filename="f") + part("b", b"two", filename="f") + ask_for("@a", "@b") + END
            key = (await upload(doors, both)).json()["key"]
            report = await doors.client.get("/commands/cat", params={"key": key, "wait": "true"})
            assert report.json()["report"] == "one two"

    assert len(doors.questions) == 1, "for the good one"


# What is wrong with the bodies below is all that is wrong with them.
WHOLE = part("good") + ask_for("@good") + END
MANY = {
    "10 000 parts": b"".join(part(f"n{number}", b"") for number in range(10_000)) + WHOLE,
    "part header 64 KiB": part("f", b"x", "X-Long: " + "x" * 64 * KIB) + WHOLE,
    "no final boundary": WHOLE.removesuffix(END),
    "preamble": b"x" * 2 * MIB + b"\r\n" + WHOLE,
    "no name": b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + WHOLE,
}


@case("HT-22")
async def test_a_body_with_files_that_is_none(doors: HttpDaemon, audit: Audit, entry: Entry) -> None:
    with variants() as variant:
        for name, body in MANY.items():
            with variant(name):
                before = len(audit.list_refusals())
                expect_answer(entry, await upload(doors, body), audit=audit)
                assert len(audit.list_refusals()) == before + 1, "one line"
        for boundary in ("b" * KIB, "", '""'):
            with variant(f"boundary {boundary[:8]}"):
                kind = f"multipart/form-data; boundary={boundary}"
                expect_answer(entry, await upload(doors, MANY["no final boundary"], **{"Content-Type": kind}))
        with variant("preamble 100 MB"):
            async with doors.raw() as connection:
                begin(connection, "/commands/cat", content_type=FORM, content_length=str(100 * MIB))
                expect_http(entry, await read_answer(connection), variant="preamble 100 MB")

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


def send_form(daemon: ThreadedDaemon, body: bytes) -> bytes:
    """Send a body with files in one go, and return the whole answer."""
    head = (
        f"POST /commands/cat HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nConnection: close\r\n"
        f"{': '.join(PROBLEM_LINE)}\r\nContent-Type: {FORM}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with daemon.server.connect() as sock:
        sock.sendall(head.encode() + body)
        return read_to_end(sock)


@case("HT-22")
def test_a_body_with_files_does_not_hold_up_the_others(tmp_path: Any, entry: Entry) -> None:
    wanted = entry.wants("http")
    assert "loop never blocked > 50 ms" in entry.invariant
    (tmp_path / "commands.toml").write_text('[[command]]\nname = "cat"\ncommand = "/bin/cat"\n')
    settings = Settings(commands_file=str(tmp_path / "commands.toml"), state_dir=str(tmp_path))

    with threaded_daemon("true", settings) as daemon:
        send_form(daemon, part("f"))
        with daemon.loop_is_watched():
            answers = {name: send_form(daemon, body) for name, body in MANY.items()}

    for name, answer in answers.items():
        assert answer.startswith(f"HTTP/1.1 {wanted.status} ".encode()), name
        assert f'"code": "{wanted.code}"'.encode() in answer, name
    assert daemon.longest_turn_s < 0.05
