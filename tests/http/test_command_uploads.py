"""Files for commands: multipart/form-data as clients send it, and as attackers do."""

import asyncio
import contextlib
import json
import os
import tempfile
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from command_daemon import CommandDaemon, StartCommands, run_command_daemon
from http_daemon import TOKEN, HttpDaemon
from observing import becomes_true
from starlette.requests import Request
from starlette.types import Message

from ws_subprocess.doors.command_starts import UPLOADS_MAX
from ws_subprocess.doors.multipart import read_form
from ws_subprocess.errors import BridgeError

BOUNDARY = "frontier"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def build_part(name: str, content: bytes, filename: str | None = None, *headers: str) -> bytes:
    """Return one part, with its boundary before it."""
    file = "" if filename is None else f'; filename="{filename}"'
    lines = [f'Content-Disposition: form-data; name="{name}"{file}', *headers]
    return b"--frontier\r\n" + "\r\n".join(lines).encode() + b"\r\n\r\n" + content + b"\r\n"


def build_request(args: list[str]) -> bytes:
    return build_part("request_json", json.dumps({"args": args}).encode())


END = b"--frontier--\r\n"


async def send(commands: CommandDaemon, body: bytes, name: str = "cat") -> tuple[int, dict[str, str]]:
    response = await commands.client.post(f"/commands/{name}", content=body, headers=FORM)
    return response.status_code, response.json()


async def test_curl_sends_files(commands_anywhere: CommandDaemon, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"one\n")
    (tmp_path / "two").write_bytes(b"two\n")

    curled = await commands_anywhere.http.curl(
        "-F",
        f"a=@{tmp_path}/one",
        "-F",
        f"b=@{tmp_path}/two",
        "-F",
        'request_json={"args": ["@b", "@a"]}',
        "{url}/commands/cat",
    )

    report = await commands_anywhere.report("cat", json.loads(curled.out)["key"])
    assert report["report"] == "two\none\n"
    assert await commands_anywhere.list_uploads() == []


async def test_a_command_elsewhere_finds_files_in_a_state_dir_that_is_named_from_here(tmp_path: Path) -> None:
    commands = '[[command]]\nname = "cat"\ncommand = "/bin/cat"\ncwd = "/"\n'

    with contextlib.chdir(tmp_path):
        async with run_command_daemon(Path(), commands=commands) as daemon:
            _, fields = await send(daemon, build_part("f", b"x", "name") + build_request(["@f"]) + END)
            report = await daemon.report("cat", fields["key"])

    assert not daemon.state_dir.is_absolute()
    assert (report["report"], report["error"]) == ("x", "")


async def test_a_file_is_stored_for_its_owner_alone_under_a_name_of_ours(commands: CommandDaemon) -> None:
    evil = "../../../../etc/passwd"
    body = build_part("f", b"x", evil) + build_request(['stat -c \'%a %n\' "$0"; stat -c %a "$(dirname "$0")"', "@f"])

    status, fields = await send(commands, body + END, "sh")
    report = (await commands.report("sh", fields["key"]))["report"]

    assert status == 202
    mode, path = report.split("\n")[0].split(" ", 1)
    assert (mode, report.split("\n")[1]) == ("600", "700")
    assert path.startswith(str(commands.state_dir))
    assert "passwd" not in path


async def test_requests_with_files_are_never_taken_for_the_same(commands: CommandDaemon) -> None:
    body = build_part("f", b"x", "f") + build_request(["@f"]) + END

    keys = {(await send(commands, body))[1]["key"] for _ in range(3)}

    assert len(keys) == 3


async def test_an_idempotency_key_counts_for_files_too(commands: CommandDaemon) -> None:
    async def post(content: bytes) -> int:
        body = build_part("f", content, "f") + build_request(["@f"]) + END
        headers = {**FORM, "Idempotency-Key": "order-1"}
        return (await commands.client.post("/commands/cat", content=body, headers=headers)).status_code

    assert [await post(b"x"), await post(b"x"), await post(b"y")] == [202, 202, 409]
    await commands.client.get("/commands/cat/jobs")


async def test_what_the_old_texts_say_is_said(commands: CommandDaemon) -> None:
    file = build_part("f", b"x", "f")

    none = await send(commands, file + build_request(["plain"]) + END)
    missing = await send(commands, file + build_request(["@g"]) + END)

    text = "No filename(s) specified. Please prefix file argument(s) with @ character."
    assert none == (400, {"error": text, "code": "bad_multipart"})
    assert missing == (400, {"error": "No File part with filename: g in request.", "code": "bad_multipart"})


# A whole request: what is wrong with those below is all that is wrong with them.
GOOD = build_part("good", b"x", "good") + build_request(["@good"]) + END
MANY = b"".join(build_part(f"n{number}", b"") for number in range(200))
HOSTILE = {
    "no boundary at the end": GOOD.removesuffix(END),
    "nothing": b"",
    "no part": b"hello",
    "too many parts": MANY + GOOD,
    "a long header": build_part("f", b"x", "f", "X-Long: " + "x" * 65536) + GOOD,
    "many headers": build_part("f", b"x", "f", *(f"X-{number}: x" for number in range(100))) + GOOD,
    "a name twice": build_part("f", b"x", "f") * 2 + GOOD,
    "no name": b"--frontier\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + GOOD,
    "no form": b'--frontier\r\nContent-Disposition: attachment; name="f"\r\n\r\nx\r\n' + GOOD,
    "a long name": build_part("f" * 300, b"x") + GOOD,
    "a name that is no text": b'--frontier\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n' + GOOD,
    "a preamble": b"x" * 2_000_000 + b"\r\n" + GOOD,
}


async def test_a_hostile_body_is_refused_and_leaves_nothing(commands: CommandDaemon) -> None:
    told = {name: await send(commands, body) for name, body in HOSTILE.items()}

    assert {name: (status, fields["code"]) for name, (status, fields) in told.items()} == dict.fromkeys(
        HOSTILE, (400, "bad_multipart")
    )
    assert await commands.list_uploads() == []
    assert (await send(commands, GOOD))[0] == 202


async def test_a_boundary_that_is_none_is_refused(commands: CommandDaemon) -> None:
    for boundary in ("", "; boundary=", f"; boundary={'x' * 1000}"):
        headers = {"Content-Type": f"multipart/form-data{boundary}"}

        response = await commands.client.post("/commands/cat", content=GOOD, headers=headers)

        assert (response.status_code, response.json()["code"]) == (400, "bad_multipart")


async def test_a_body_that_is_too_big_is_refused_declared_or_not(start_commands: StartCommands) -> None:
    commands = await start_commands(max_upload_bytes=100_000)
    body = build_part("f", b"x" * 200_000, "f") + build_request(["@f"]) + END

    async def in_pieces():
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    declared = await commands.client.post("/commands/cat", content=body, headers=FORM)
    chunked = await commands.client.post("/commands/cat", content=in_pieces(), headers=FORM)

    assert [declared.status_code, chunked.status_code] == [413, 413]
    assert await commands.list_uploads() == []


async def test_fields_are_bound_like_a_body_without_files(start_commands: StartCommands) -> None:
    commands = await start_commands(max_body_bytes=2000)
    body = build_part("f", b"x" * 10_000, "f") + build_part("field", b"x" * 3000) + build_request(["@f"]) + END

    assert (await send(commands, body))[0] == 413


async def test_a_body_that_does_not_come_is_given_up(start_commands: StartCommands) -> None:
    commands = await start_commands(body_timeout_s=0.2)
    http: HttpDaemon = commands.http
    async with http.raw() as connection:
        length = {"content_length": "100", "content_type": FORM["Content-Type"]}
        connection.send("POST", "/commands/cat", b"--frontier\r\n", **length)

        assert await connection.read_status() == 408
    assert await commands.list_uploads() == []


async def test_a_client_that_leaves_in_the_middle_leaves_no_files(commands: CommandDaemon) -> None:
    async with commands.http.raw() as connection:
        length = {"content_length": "100000", "content_type": FORM["Content-Type"]}
        connection.send("POST", "/commands/cat", build_part("f", b"x" * 5000, "f"), **length)
        await connection.writer.drain()
        await becomes_true(commands.list_uploads, "the upload's folder")

    async def is_gone() -> bool:
        return not await commands.list_uploads()

    await becomes_true(is_gone, "the folder's end")


async def test_a_request_that_is_cancelled_in_the_middle_leaves_no_files(commands: CommandDaemon) -> None:
    head = build_part("a", b"x" * 1000, "a")
    messages = iter([{"type": "http.request", "body": head, "more_body": True}])

    async def receive() -> Message:
        if (message := next(messages, None)) is not None:
            return message
        await asyncio.Event().wait()
        raise AssertionError

    async def send(message: Message) -> None:
        raise AssertionError(message)

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/commands/cat",
        "raw_path": b"/commands/cat",
        "query_string": b"",
        "headers": [
            (b"host", b"127.0.0.1"),
            (b"authorization", f"Bearer {TOKEN}".encode()),
            (b"content-type", FORM["Content-Type"].encode()),
        ],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 80),
        "scheme": "http",
        "http_version": "1.1",
    }
    request = asyncio.ensure_future(commands.http.app(scope, receive, send))
    await becomes_true(commands.list_uploads, "the upload")

    request.cancel()
    await asyncio.gather(request, return_exceptions=True)

    assert await commands.list_uploads() == []


async def test_no_more_uploads_at_a_time_than_there_are_places_for(start_commands: StartCommands) -> None:
    commands = await start_commands(body_timeout_s=30.0)
    length = {"content_length": "1000", "content_type": FORM["Content-Type"]}
    async with AsyncExitStack() as stack:
        for _ in range(UPLOADS_MAX):
            connection = await stack.enter_async_context(commands.http.raw())
            connection.send("POST", "/commands/cat", b"--frontier\r\n", **length)

        async def is_full() -> bool:
            return len(await commands.list_uploads()) == UPLOADS_MAX

        await becomes_true(is_full, "all places taken")
        status, fields = await send(commands, build_part("f", b"x", "f") + build_request(["@f"]) + END)

    assert (status, fields["code"]) == (503, "queue_full")


async def test_a_file_that_cannot_be_kept_is_told_as_want_of_space(tmp_path: Path) -> None:
    body = build_part("f", b"x", "f") + END

    async def receive() -> dict[str, object]:
        return {"type": "http.request", "body": body, "more_body": False}

    request = Request({"type": "http", "headers": [(b"content-type", FORM["Content-Type"].encode())]}, receive)

    with pytest.raises(BridgeError) as caught:
        await read_form(request, tmp_path / "gone", 1000, 1000, 1.0)
    assert (caught.value.code, caught.value.fault.status) == ("no_space", 507)


async def test_a_command_may_take_no_files(commands: CommandDaemon) -> None:
    status, fields = await send(commands, build_part("f", b"x", "f") + build_request(["@f"]) + END, "fixed")

    assert (status, fields["code"]) == (415, "unsupported_media_type")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may run commands as somebody else")
async def test_the_account_that_runs_the_command_can_read_its_files() -> None:
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o711)
        async with run_command_daemon(Path(folder)) as commands:
            commands.state_dir.chmod(0o711)
            commands.http.allow(user="nobody")

            _, fields = await send(commands, build_part("f", b"read", "f") + build_request(["@f"]) + END)

            report = await commands.report("cat", fields["key"])
            assert (report["report"], report["error"]) == ("read", "")
