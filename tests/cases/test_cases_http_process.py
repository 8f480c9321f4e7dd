"""The catalogue's requests to the process door: names, places and commands that are none, and races for a name."""

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from catalogue import Entry, case
from expecting import Audit, assert_nobody_was_asked, assert_nothing_ran, count_starts, variants
from http_asking import JSON, PROBLEM, STARTS, begin, expect_answer, post
from http_daemon import HttpDaemon
from observing import until

Start = Callable[..., Awaitable[HttpDaemon]]
GOOD = STARTS["/process"]


def sh(script: str, alias: str = "a") -> dict[str, Any]:
    """Return a request that runs a shell script."""
    return {"alias": alias, "cmd": "/bin/sh", "args": ["-c", script]}


async def expect_refused(entry: Entry, doors: HttpDaemon, request: dict[str, Any], variant: str = "") -> None:
    """Fail unless the door refuses a request as the entry says; as rexec does for clients that know that."""
    expect_answer(entry, await post(doors, "/process", request), variant)
    old = await post(doors, "/process", request, Accept="*/*")
    assert old.status_code == entry.wants("http", "old form").status
    assert old.text.startswith('[Rexec] InvalidCreateProcessRequest : "')


@case("HT-11")
async def test_an_alias_that_is_none(doors: HttpDaemon, entry: Entry) -> None:
    missing = {key: value for key, value in GOOD.items() if key != "alias"}
    wrong = ("", "x" * 256, "a\nb", "../x", "a/b", "\0", "\x7f", "\u202e", None, 5, ["a"])

    with variants() as variant:
        for request in (missing, *({**GOOD, "alias": alias} for alias in wrong)):
            with variant(request):
                await expect_refused(entry, doors, request)

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-13")
async def test_fifty_that_want_one_alias(doors: HttpDaemon, entry: Entry) -> None:
    request = sh("sleep 0.3; echo won")

    answers = await asyncio.gather(*(post(doors, "/process", request) for _ in range(50)))

    assert entry.invariant == "exactly 1 of 50 racing starts wins"
    won = [answer for answer in answers if answer.status_code == 200]
    assert [answer.text for answer in won] == ["won\n"]
    for answer in answers:
        if answer not in won:
            expect_answer(entry, answer)
    assert count_starts(doors) == 1  # type: ignore[arg-type]
    assert (await post(doors, "/process", request)).text == "won\n", "and the name is free again"


@case("HT-14")
async def test_a_command_that_cannot_start(doors: HttpDaemon, entry: Entry) -> None:
    commands = ("no-such-program", "/no/such/program", "/etc/passwd", "/tmp", "/bin/true/x", "/" + "x" * 300)

    with variants() as variant:
        for command in commands:
            with variant(command):
                request = {"alias": "a", "cmd": command}
                expect_answer(entry, await post(doors, "/process", request))
                old = await post(doors, "/process", request, Accept="*/*")
                assert old.status_code == entry.wants("http").status
                assert old.text.startswith('[Rexec] FailedToExecuteProcess : "')

    assert_nothing_ran(doors)
    assert (await post(doors, "/process", sh("echo hi"))).text == "hi\n", "no name was kept"


@case("HT-15")
async def test_a_path_that_nobody_knows(open_doors: Start, entry: Entry) -> None:
    doors = await open_doors(process_listen=("127.0.0.1:0",))
    paths = ("/", "/process/", "//process", "/%70rocess", "/PROCESS", "/ws", "/healthz", "/payloads", "/nope")

    with variants() as variant:
        for path in paths:
            for method in ("GET", "POST", "DELETE"):
                with variant(f"{method} {path}"):
                    url = httpx.URL(doors.own_url, raw_path=path.encode())
                    body = json.dumps(GOOD).encode() if method == "POST" else b""
                    headers = {**JSON, **PROBLEM}
                    expect_answer(entry, await doors.client.request(method, url, content=body, headers=headers))
        for path in ("/process/", "//process", "/PROCESS", "/nope"):
            with variant(f"{path} elsewhere"):
                assert entry.invariant.endswith("404 elsewhere")
                url = httpx.URL(doors.url, raw_path=path.encode())
                assert (await doors.client.post(url, json=GOOD)).status_code == 404

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-17")
async def test_a_directory_that_is_none(open_doors: Start, audit: Audit, entry: Entry) -> None:
    doors = await open_doors(allow_cwds=("/srv",))

    with variants() as variant:
        for cwd in ("../../", "tmp", "./", "", "/srv/../etc", "/srv/..", "/proc/self/cwd", "/a\nb", None, 5):
            with variant(cwd):
                await expect_refused(entry, doors, {**GOOD, "cwd": cwd})
        assert_nobody_was_asked(doors)
        for cwd in ("/etc", "/srvx"):
            with variant(f"outside the root: {cwd}"):
                answer = await post(doors, "/process", {**GOOD, "cwd": cwd})
                expect_answer(entry, answer, "outside the root", audit)
        with variant("absent"):
            answer = await post(doors, "/process", {**GOOD, "cwd": "/srv/no/such/directory"})
            expect_answer(entry, answer, "absent")

    assert_nothing_ran(doors)


@case("HT-19")
async def test_a_second_request_while_the_first_one_streams(doors: HttpDaemon, entry: Entry) -> None:
    entry.wants("tcp", "process")
    assert entry.invariant == "or queued; never interleaved"

    async with doors.raw() as connection:
        begin(connection, "/process", json.dumps(sh("echo one; sleep 0.2; echo two")).encode())
        begin(connection, "/process", json.dumps(sh("echo three", "b")).encode())
        answer = await connection.reader.read()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert answer.index(b"one\n") < answer.index(b"two\n") < answer.index(b"0\r\nx-exit-code: 0")
    assert b"three" not in answer
    assert count_starts(doors) == 1  # type: ignore[arg-type]


@case("HT-19")
async def test_requests_in_a_row_are_answered_in_a_row(doors: HttpDaemon, entry: Entry) -> None:
    entry.wants("ok", "other doors")
    calls = [{"jsonrpc": "2.0", "method": "list", "id": number} for number in range(3)]

    async with doors.raw() as connection:
        for call in calls[:2]:
            begin(connection, "/rpc", json.dumps(call).encode())
        begin(connection, "/rpc", json.dumps(calls[2]).encode(), connection="close")
        answer = (await connection.reader.read()).decode()

    assert answer.count("HTTP/1.1 200 ") == 3
    places = [answer.index(f'"id":{number}') for number in range(3)]
    assert places == sorted(places)


@case("HT-31")
@pytest.mark.parametrize("path", ["/process", "/commands/echo", "/payloads"])
async def test_values_of_the_wrong_type(doors: HttpDaemon, entry: Entry, path: str) -> None:
    good = STARTS[path]
    name = "params" if path == "/payloads" else "args"

    with variants() as variant:
        for value in ("a string", 5, None, {"a": "b"}, [1], [None], [["x"]], ["a\0b"]):
            with variant(f"{name} {value!r}"):
                expect_answer(entry, await post(doors, path, {**good, name: value}))
        for value in ("0", "-1", '"60"', "1e400", "true", "[]"):
            with variant(f"timeout {value}"):
                body = json.dumps(good).removesuffix("}") + f', "timeout": {value}}}'
                expect_answer(entry, await post(doors, path, body.encode()), "timeout")
        for body in (b"[]", b"null", b'"x"', b"7"):
            with variant(body):
                expect_answer(entry, await post(doors, path, body))

    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


EVIL = "x\r\nX-Evil: 1\r\n\r\n"


@case("HT-37")
async def test_names_that_would_be_headers_of_their_own(doors: HttpDaemon, entry: Entry) -> None:
    encoded = base64.urlsafe_b64encode(json.dumps({**GOOD, "alias": EVIL}).encode()).decode()
    in_header = {"Content-Type": "application/octet-stream", "X-Process": encoded, **PROBLEM}

    with variants() as variant:
        with variant("alias"):
            expect_answer(entry, await post(doors, "/process", {**GOOD, "alias": EVIL}), "alias")
        with variant("alias in a header"):
            answer = await doors.client.post("/process", content=b"", headers=in_header)
            expect_answer(entry, answer, "alias")
            assert "x-evil" not in answer.headers
        with variant("queries"):
            for path in (
                "/commands/echo", "/commands/echo/output", "/commands/echo/jobs", "/payloads", "/payloads/x/output",
            ):  # fmt: skip
                for key in ("key", "after", "limit", "offset", "stream"):
                    answer = await doors.client.get(path, params={"key": EVIL, key: EVIL}, headers=PROBLEM)
                    assert "x-evil" not in answer.headers, (path, key)
                    assert answer.status_code < 500, (path, key)
        with variant("request id"):
            async with doors.raw() as connection:
                connection.send("GET", "/payloads", x_request_id="a\r\n b", connection="close")
                head = await connection.read_head()
                assert head.startswith("HTTP/1.1 400 ")
                assert "\r\n b" not in head

    assert_nothing_ran(doors)


@case("HT-37")
async def test_a_file_whose_name_would_be_a_header(doors: HttpDaemon, entry: Entry) -> None:
    entry.wants("ok", "filename")
    lines = ("--b", 'Content-Disposition: form-data; name="f"; filename="a%0d%0aX-Evil: 1"', "", "x", "--b")
    lines += ('Content-Disposition: form-data; name="request_json"', "", '{"args": ["@f"]}', "--b--", "")
    headers = {"Content-Type": "multipart/form-data; boundary=b"}

    started = await doors.client.post("/commands/cat", content="\r\n".join(lines).encode(), headers=headers)
    report = await doors.client.get("/commands/cat", params={"key": started.json()["key"], "wait": "true"})

    assert (started.status_code, report.json()["report"]) == (202, "x")
    assert "x-evil" not in {*started.headers, *report.headers}
    await until(lambda: not len(doors.app.registry), "no session")
