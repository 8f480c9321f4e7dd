"""Every way not to get in: the status and text of PROTOCOL.md, before the upgrade, and nothing started."""

import asyncio
import base64
import contextlib
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from daemon import KEY, NATIVE, Daemon, Reply
from observing import list_children, until
from scripted_server import respond

from ws_subprocess.errors import FAULTS

Start = Callable[..., Awaitable[Daemon]]
PROBLEM = ("Accept", "application/problem+json")


def bearer(token: bytes) -> str:
    return "bearer." + base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def protocols(*names: str) -> tuple[str, str]:
    return ("Sec-WebSocket-Protocol", ", ".join(names))


def authorization(token: str) -> tuple[str, str]:
    return ("Authorization", f"Bearer {token}")


async def expect(daemon: Daemon, code: str, path: str, *headers: tuple[str, str], host: str | None = None) -> Reply:
    """Knock twice: the answer must be the code's, as text and as a problem."""
    fault = FAULTS[code]
    text = await daemon.knock(path, *headers, host=host)
    problem = await daemon.knock(path, PROBLEM, *headers, host=host)

    assert (text.status, text.body.decode()) == (fault.status, fault.title)
    assert text.get("content-type") == "text/plain; charset=utf-8"
    assert problem.status == fault.status
    assert problem.get("content-type") == "application/problem+json"
    told = problem.json()
    told.pop("detail", None)
    assert told == {"type": "about:blank", "title": fault.title, "status": fault.status, "code": code}
    for reply in (text, problem):
        assert reply.get("cache-control") == "no-store"
        assert reply.get("sec-websocket-accept") is None
    return problem


# Requests that cannot be used: nobody is asked.

BAD_REQUESTS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("token_missing", "/ws", []),
    ("token_missing", "/ws?token=", []),
    ("token_missing", "/ws?Token=t0ken", []),
    ("token_missing", "/ws?rows=24&cols=80", []),
    ("token_missing", "/ws", [protocols(NATIVE)]),
    ("token_ambiguous", "/ws?token=a&token=b", []),
    ("token_ambiguous", "/ws?token=a&token=a", []),
    ("token_ambiguous", "/ws?token=t0ken", [authorization("t0ken")]),
    ("token_ambiguous", "/ws?token=t0ken", [protocols(NATIVE, bearer(b"t0ken"))]),
    ("token_ambiguous", "/ws", [authorization("t0ken"), protocols(NATIVE, bearer(b"t0ken"))]),
    ("token_ambiguous", "/ws", [protocols(bearer(b"a"), bearer(b"b"))]),
    ("token_ambiguous", "/ws", [authorization("a"), authorization("b")]),
    ("token_malformed", "/ws?token=%FF", []),
    ("token_malformed", "/ws", [protocols(NATIVE, "bearer.")]),
    ("token_malformed", "/ws", [protocols(NATIVE, "bearer.a")]),
    ("token_malformed", "/ws", [protocols(NATIVE, "bearer.a+b~")]),
    ("token_malformed", "/ws", [("Authorization", "Basic dTpw")]),
    ("token_malformed", "/ws", [("Authorization", "Bearer a\tb")]),
    ("token_malformed", "/ws", [protocols(NATIVE, bearer(b"\xff"))]),
    ("token_malformed", "/ws", [("Authorization", "Bearer")]),
    ("token_malformed", "/ws", [("Authorization", "Bearer a b")]),
    ("bad_size", "/ws?token=t0ken&rows=2001", []),
    ("bad_size", "/ws?token=t0ken&rows=-1", []),
    ("bad_size", "/ws?token=t0ken&cols=80.5", []),
    ("bad_size", "/ws?token=t0ken&cols=", []),
    ("bad_size", "/ws?token=t0ken&cols=0x50", []),
    ("bad_size", "/ws?token=t0ken&cols=%D9%A1", []),
    ("bad_size", "/ws?token=t0ken&rows=24&rows=24", []),
    ("bad_size", "/ws?token=t0ken&rows=" + "9" * 5000, []),
]


@pytest.mark.parametrize("server", ["ours"], indirect=True)
@pytest.mark.parametrize(("code", "path", "headers"), BAD_REQUESTS, ids=lambda value: ascii(value)[:60])
async def test_a_request_that_cannot_be_used_is_refused_and_nobody_is_asked(
    daemon: Daemon, code: str, path: str, headers: list[tuple[str, str]]
) -> None:
    daemon.grant("true")

    await expect(daemon, code, path, *headers)

    assert daemon.list_asked() == []
    assert not list_children()


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_on_any_other_server_they_are_refused_alike(daemon: Daemon) -> None:
    for code, path, headers in BAD_REQUESTS:
        await expect(daemon, code, path, *headers)

    assert daemon.list_asked() == []


# Plain uvicorn itself gives up on header lines of 8 KiB and more.
@pytest.mark.parametrize("server", ["ours"], indirect=True)
@pytest.mark.parametrize(("path", "headers"), [("/ws?token=", []), ("/ws", [authorization("x")])], ids=str)
async def test_a_token_may_have_8192_bytes_and_not_one_more(
    daemon: Daemon, path: str, headers: list[tuple[str, str]]
) -> None:
    def lengthen(size: int) -> tuple[str, list[tuple[str, str]]]:
        longer = [(name, value[:-1] + "x" * size) for name, value in headers]
        return (path if longer else path + "x" * size), longer

    path_at_limit, headers_at_limit = lengthen(8192)
    path_above, headers_above = lengthen(8193)

    await expect(daemon, "denied", path_at_limit, *headers_at_limit)
    await expect(daemon, "token_too_long", path_above, *headers_above)

    assert daemon.list_asked() == ["x" * 8192] * 2


async def test_what_is_wrong_with_a_request_is_told_in_a_problem(daemon: Daemon) -> None:
    reply = await daemon.knock("/ws?token=t0ken&rows=2001", PROBLEM)

    assert reply.json()["detail"] == "rows: '2001' is not in 0..2000"


# Hosts and origins.


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.nip.io", "localhost.attacker.example", ""])
async def test_a_foreign_host_is_refused_whatever_its_origin(daemon: Daemon, host: str) -> None:
    daemon.grant("true")

    await expect(daemon, "host_denied", "/ws?token=t0ken", ("Origin", f"http://{host}"), host=host)

    assert daemon.list_asked() == []


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://ours.example.evil.io",
        "https://evilours.example",
        "https://ours.example@evil.io",
        "https://oursXexample",
        "https://ours.example.",
        "http://ours.example",
        "http://127.0.0.1",
        "file://",
    ],
)
async def test_a_page_of_another_origin_is_refused(start: Start, origin: str) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    daemon.grant("true")

    await expect(daemon, "origin_denied", "/ws?token=t0ken", ("Origin", origin))

    assert daemon.list_asked() == []


@pytest.mark.parametrize("origin", ["https://ours.example", "https://OURS.example:443", None])
async def test_a_page_of_an_allowed_origin_is_let_in(start: Start, origin: str | None) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    own = f"http://{daemon.host}"

    reply = await daemon.knock(daemon.grant("true"), ("Origin", origin or own))

    assert reply.status == 101
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_two_origins_are_no_origin(daemon: Daemon) -> None:
    own = ("Origin", f"http://{daemon.host}")

    reply = await daemon.knock(daemon.grant("true"), own, own)

    # The servers themselves refuse this, each in its own words.
    assert reply.status == 400
    assert daemon.list_asked() == []


async def test_the_checks_run_in_their_order_so_that_a_doomed_request_costs_no_token(daemon: Daemon) -> None:
    """Each step mends what the one before it was refused for."""
    foreign, own = ("Origin", "http://evil.example"), ("Origin", f"http://{daemon.host}")
    daemon.app.begin_drain()

    await expect(daemon, "host_denied", "/ws?rows=x", foreign, host="evil.example")
    await expect(daemon, "origin_denied", "/ws?rows=x", foreign)
    await expect(daemon, "draining", "/ws?rows=x", own)
    daemon.app.registry.is_draining = False
    await expect(daemon, "token_missing", "/ws?rows=x", own)
    await expect(daemon, "bad_size", "/ws?token=t0ken&rows=x", own)
    assert daemon.list_asked() == []
    await expect(daemon, "denied", "/ws?token=t0ken", own)

    assert daemon.list_asked() == ["t0ken", "t0ken"]


# Room.


async def test_a_full_daemon_refuses_before_it_asks_and_says_when_to_come_back(start: Start) -> None:
    daemon = await start(max_sessions=1)
    async with daemon.open(daemon.grant("sleep 1000")) as client:
        reply = await expect(daemon, "too_many_sessions", "/ws?token=other")
        assert reply.get("retry-after") == "5"
        await client.connection.close()
    await until(lambda: not len(daemon.app.registry), "no session")

    async with daemon.open(daemon.grant("true")) as client:
        assert await client.ends() == (1000, "")
    assert daemon.list_asked() == ["t0ken", "t0ken"]


async def test_a_draining_daemon_refuses_before_it_asks_and_says_when_to_come_back(daemon: Daemon) -> None:
    daemon.app.begin_drain()

    reply = await expect(daemon, "draining", daemon.grant("true"))

    assert reply.get("retry-after") == "30"
    assert daemon.list_asked() == []


async def test_a_launch_that_was_under_way_when_draining_began_starts_nothing(daemon: Daemon) -> None:
    """Else a session would begin after all others were told to end."""
    with held_controller(daemon) as release:
        knocking = asyncio.ensure_future(daemon.knock(daemon.grant("true")))
        await until(daemon.list_asked, "the question")
        daemon.app.begin_drain()
        release()

        reply = await knocking

    assert (reply.status, reply.body) == (503, b"Server is shutting down")
    assert not list_children()


# The controller.


ANSWERS: list[tuple[str, Any]] = [
    ("denied", None),
    ("denied", respond('{"command": "/bin/true"}', "201 Created")),
    ("denied", respond("", "302 Found", "Location: /")),
    ("controller_error", respond("", "500 Oops")),
    ("controller_error", respond("", "503 Busy")),
    ("controller_bad_answer", b"garbage\r\n\r\n"),
    ("controller_too_big", respond(" " * 70_000)),
    ("controller_bad_encoding", respond("{}", "200 OK", "Content-Encoding: gzip")),
    ("controller_bad_json", respond("<html>")),
    ("controller_bad_schema", respond("[]")),
    ("controller_bad_schema", {}),
    ("controller_bad_command", {"command": "true"}),
    ("controller_bad_env", {"command": "/bin/true", "env": {"LD_PRELOAD": "/x"}}),
    ("spawn_cwd", {"command": "/bin/true", "cwd": "relative"}),
    ("spawn_cwd", {"command": "/bin/true", "cwd": "/no/such/directory"}),
    ("spawn_failed", {"command": "/no/such/command"}),
    ("spawn_failed", {"command": "/etc/passwd"}),
]


@pytest.mark.parametrize("server", ["ours"], indirect=True)
@pytest.mark.parametrize(("code", "answer"), ANSWERS, ids=lambda value: ascii(value)[:50])
async def test_what_the_controller_says_becomes_a_status_and_the_client_learns_no_more(
    daemon: Daemon, caplog: pytest.LogCaptureFixture, code: str, answer: Any
) -> None:
    if answer is not None:
        daemon.grants["t0ken"] = answer

    with caplog.at_level(logging.INFO):
        reply = await expect(daemon, code, "/ws?token=t0ken")

    assert "detail" not in reply.json()
    assert daemon.list_asked() == ["t0ken", "t0ken"], "once for each knock"
    lines = [record for record in caplog.records if record.getMessage() == "terminal refused"]
    assert [record.__dict__["code"] for record in lines] == [code] * 2
    assert all(record.__dict__["reason"] for record in lines)
    assert {record.levelno for record in lines} == {logging.INFO if code == "denied" else logging.WARNING}


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_on_any_other_server_its_answers_become_the_same_statuses(daemon: Daemon) -> None:
    for code, answer in ANSWERS:
        daemon.grants.clear()
        if answer is not None:
            daemon.grants["t0ken"] = answer
        await expect(daemon, code, "/ws?token=t0ken")


async def test_a_controller_that_nobody_reaches_is_503_with_a_time_to_come_back(start: Start) -> None:
    daemon = await start(controller_url="http://127.0.0.1:1/")

    reply = await expect(daemon, "controller_unreachable", "/ws?token=t0ken")

    assert reply.get("retry-after") == "5"


async def test_a_controller_that_is_late_is_504(start: Start) -> None:
    daemon = await start(controller_timeout_s=0.1)
    with held_controller(daemon):
        await expect(daemon, "controller_timeout", "/ws?token=t0ken")


@contextlib.contextmanager
def held_controller(daemon: Daemon) -> Any:
    """Let the controller answer only once the function that this gives is called."""
    free, answer = asyncio.Event(), daemon.controller.answer
    assert not isinstance(answer, bytes)

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        waiting = {asyncio.ensure_future(free.wait()), asyncio.ensure_future(reader.read(1))}
        _, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in pending:
            task.cancel()
        await asyncio.wait(pending)
        if not free.is_set():
            raise ConnectionResetError
        await answer(reader, writer)

    daemon.controller.answer = wait
    yield free.set
    daemon.controller.answer = answer


async def test_a_client_that_leaves_while_the_controller_is_asked_starts_nothing(
    daemon: Daemon, caplog: pytest.LogCaptureFixture
) -> None:
    with held_controller(daemon), caplog.at_level(logging.INFO):
        knocking = asyncio.ensure_future(daemon.knock(daemon.grant("true")))
        await until(daemon.list_asked, "the question")
        knocking.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await knocking

        await until(lambda: daemon.controller.closed, "the end of the question")
        await until(lambda: "client left during handshake" in caplog.messages, "the log line")

    assert len(daemon.app.registry) == 0
    assert not list_children()


# Tokens.


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


# Asking again without an upgrade.


async def test_without_an_upgrade_the_answer_is_426_and_nobody_is_asked(daemon: Daemon) -> None:
    daemon.grant("true")

    reply = await daemon.get("/ws?token=t0ken", PROBLEM)

    assert reply.status == 426
    assert reply.json()["code"] == "upgrade_required"
    assert reply.get("upgrade") == "websocket"
    assert daemon.list_asked() == []


@pytest.mark.parametrize(
    ("code", "answer"),
    [("denied", None), ("controller_error", respond("", "500 X")), ("spawn_failed", {"command": "/x"})],
)
async def test_a_page_may_ask_why_its_token_was_refused(daemon: Daemon, code: str, answer: Any) -> None:
    if answer is not None:
        daemon.grants["t0ken"] = answer
    await daemon.knock("/ws", protocols(NATIVE, bearer(b"t0ken")))

    again = await daemon.get("/ws", PROBLEM, authorization("t0ken"))
    other = await daemon.get("/ws", PROBLEM, authorization("other"))

    assert (again.status, again.json()["code"]) == (FAULTS[code].status, code)
    assert other.status == 426
    assert daemon.list_asked() == ["t0ken"]


async def test_without_an_upgrade_the_other_checks_hold_too(daemon: Daemon) -> None:
    replies = [
        await daemon.get("/ws?token=t0ken", host="evil.example"),
        await daemon.get("/ws?token=t0ken", ("Origin", "http://evil.example")),
        await daemon.get("/ws"),
    ]

    assert [reply.body for reply in replies] == [b"Host not allowed", b"Origin not allowed", b"Token missing"]


@pytest.mark.parametrize(("origin", "is_shared"), [("https://ours.example", True), ("https://evil.example", False)])
async def test_only_pages_of_allowed_origins_may_read_why(start: Start, origin: str, is_shared: bool) -> None:
    daemon = await start(allow_origins=("https://ours.example",))

    reply = await daemon.get("/ws?token=t0ken", ("Origin", origin))

    assert reply.get("access-control-allow-origin") == (origin if is_shared else None)
    assert "Origin" in (reply.get("vary") or "")


# Other paths and methods.


async def test_another_method_is_not_allowed(daemon: Daemon) -> None:
    for path in ("/ws", "/", "/healthz", "/metrics", "/static/page.js"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            reply = await daemon.request(method, path, PROBLEM)

            assert (reply.status, reply.json()["code"]) == (405, "method_not_allowed")
            assert "GET" in (reply.get("allow") or "")


@pytest.mark.parametrize(("origin", "is_shared"), [("https://ours.example", True), ("https://evil.example", False)])
async def test_only_pages_of_allowed_origins_may_send_a_header_with_their_question(
    start: Start, origin: str, is_shared: bool
) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    wish = ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization")

    reply = await daemon.request("OPTIONS", "/ws", ("Origin", origin), *wish)

    assert reply.status == 204
    assert reply.get("access-control-allow-origin") == (origin if is_shared else None)
    assert reply.get("access-control-allow-headers") == ("authorization" if is_shared else None)


NOWHERE = [
    "/nope",
    "/ws/",
    "//ws",
    "/WS",
    "/ws/x",
    "/wsx",
    "/static",
    "/static/",
    "/static/no.js",
    "/healthz/",
    "/%77s/",
]


async def test_another_path_is_not_found(daemon: Daemon) -> None:
    for path in NOWHERE:
        text, problem = await daemon.get(path + "?token=t0ken"), await daemon.get(path, PROBLEM)

        assert (text.status, text.body) == (404, b"Not Found"), path
        assert text.get("location") is None
        assert (problem.status, problem.json()["code"]) == (404, "not_found")


async def test_a_websocket_elsewhere_is_not_found(daemon: Daemon) -> None:
    daemon.grant("true")

    for path in (*NOWHERE, "/", "/healthz", "/static/page.js"):
        reply = await daemon.knock(path + "?token=t0ken")
        assert (reply.status, reply.body) == (404, b"Not Found"), path

    assert daemon.list_asked() == []


async def test_below_a_base_path_everything_is_there_and_nothing_elsewhere(start: Start) -> None:
    daemon = await start(base_path="/lab/7")
    daemon.grant("true")

    inside = [await daemon.knock("/lab/7/ws"), await daemon.get("/lab/7/healthz"), await daemon.get("/lab/7/")]
    outside = [await daemon.knock("/ws?token=t0ken"), await daemon.get("/healthz"), await daemon.get("/")]

    assert [reply.status for reply in inside] == [400, 200, 200]
    assert [reply.status for reply in outside] == [404, 404, 404]


async def test_a_base_path_without_its_slash_leads_to_the_page_and_takes_no_token_along(start: Start) -> None:
    daemon = await start(base_path="/lab/7")

    reply = await daemon.get("/lab/7?token=t0ken")

    assert (reply.status, reply.get("location")) == (307, "7/")


async def test_a_refused_client_that_is_gone_already_hurts_nobody(daemon: Daemon) -> None:
    with held_controller(daemon) as release:
        _, writer = await asyncio.open_connection("127.0.0.1", daemon.port)
        writer.write(
            f"GET /ws?token=x HTTP/1.1\r\nHost: {daemon.host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n".encode()
        )
        await until(daemon.list_asked, "the question")
        release()
        writer.transport.abort()

    assert (await daemon.get("/healthz")).status == 200


async def test_a_command_that_was_refused_for_its_directory_can_be_mended(daemon: Daemon, tmp_path: Path) -> None:
    folder = tmp_path / "later"
    await expect(daemon, "spawn_cwd", daemon.grant("pwd", cwd=str(folder)))

    folder.mkdir()
    async with daemon.open("/ws?token=t0ken") as client:
        await client.ends()

    assert client.output.decode().strip() == str(folder)
