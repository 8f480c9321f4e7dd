"""What the process door has beside rexec's: forms of the answer, input, and the daemon's bounds."""

import base64
import json
import os
from collections.abc import Awaitable, Callable

import pytest
from http_daemon import HttpDaemon
from process_asking import HOLD, NDJSON, PROBLEM, begin, in_header, lines_of, post, run, sh, started

Start = Callable[..., Awaitable[HttpDaemon]]

STREAM = ("-H", "Content-Type: application/octet-stream", "-X", "POST", "{url}/process")


def streaming(body: object, *args: str) -> tuple[str, ...]:
    """Return arguments for curl: the request in a header, and as its body the command's input."""
    return (*STREAM, "-H", f"X-Process: {in_header(body)}", "-T", "-", *args)


# Forms.


async def test_ndjson_tells_streams_apart_and_ends_with_the_exit(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh("printf 'a\\377'; echo b >&2; exit 7"), **NDJSON)

    assert answer.headers["content-type"] == "application/x-ndjson"
    *output, last = lines_of(answer)
    found = {line["stream"]: base64.b64decode(line["data_b64"]) for line in output}
    assert found == {"stdout": b"a\xff", "stderr": b"b\n"}
    assert last == {"exit": {"code": 7, "signal": None}}


async def test_events_hold_the_same_as_ndjson(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    answer = await post(daemon, sh("echo a; exit 7"), Accept="text/event-stream")

    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text == (
        'event: output\ndata: {"stream":"stdout","data_b64":"YQo="}\n\n'
        'event: exit\ndata: {"exit":{"code":7,"signal":null}}\n\n'
    )


@pytest.mark.parametrize(("stderr", "expected"), [("drop", b"a\n"), ("merge", b"a\nb\n")])
async def test_stderr_is_dropped_or_merged(start_http: Start, stderr: str, expected: bytes) -> None:
    daemon = await start_http(process_door=True)

    curled = await run(daemon, sh("echo a; sleep 0.05; echo b >&2", stderr=stderr))

    assert curled.out == expected


# Input.


async def test_input_may_stand_in_the_request(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await post(daemon, sh("tr a-z A-Z", stdin="h\u00e9llo"))).text == "H\u00e9LLO"


async def test_who_may_only_watch_gives_no_input(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(read_only=True)

    with_input = await post(daemon, sh("cat", stdin="x"), **PROBLEM)
    without = await post(daemon, sh("cat; echo end"))

    assert (with_input.status_code, with_input.json()["code"]) == (403, "right_missing")
    assert without.text == "end\n"


async def test_without_input_there_is_its_end_at_once(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    assert (await post(daemon, sh("cat; echo end"))).text == "end\n"


async def test_input_may_be_the_body(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    data = os.urandom(5_000_000)

    curled = await daemon.curl(*streaming(sh("cat")), data=data)

    assert curled.exit_code == 0, curled.err
    assert curled.out == data


async def test_input_and_output_flow_at_the_same_time(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        types = {"content_type": "application/octet-stream", "content_length": "", "transfer_encoding": "chunked"}
        connection.send("POST", "/process", **types, x_process=in_header(sh("cat")))
        assert await connection.read_status() == 200
        for text in (b"one", b"two"):
            connection.writer.write(b"3\r\n" + text + b"\r\n")
            assert await connection.reader.readexactly(8) == b"3\r\n" + text + b"\r\n"
        connection.writer.write(b"0\r\n\r\n")

        assert (await connection.reader.read()).startswith(b"0\r\n")


async def test_a_command_that_ends_before_its_input_does_still_gives_all_its_output(start_ours: Start) -> None:
    daemon = await start_ours(process_door=True)

    asked = streaming(sh("head -c 3; exit 5"), "-H", "Accept: application/x-ndjson")
    curled = await daemon.curl(*asked, data=b"abc" * 3_000_000)

    lines = [json.loads(line) for line in curled.out.splitlines()]
    assert base64.b64decode(lines[0]["data_b64"]) == b"abc"
    assert lines[-1] == {"exit": {"code": 5, "signal": None}}


async def test_a_request_in_a_header_that_is_none_is_refused(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    for header in ("X-Process;", "X-Process: %%%", "X-Process: e30=", "X-Process: W10"):
        curled = await daemon.curl(*STREAM, "-w", "%{http_code}", "-H", header)

        assert curled.out.endswith(b"500"), header
    assert not daemon.questions


# Bounds.


async def test_a_second_request_on_a_streaming_connection_is_not_interleaved(start_http: Start) -> None:
    daemon = await start_http(process_door=True)

    async with daemon.raw() as connection:
        begin(connection, sh("echo one; sleep 0.2; echo two"))
        begin(connection, sh("echo three", alias="b"))
        answer = await connection.reader.read()

    assert answer.count(b"HTTP/1.1 ") == 1
    assert b"one\n" in answer
    assert b"two\n" in answer
    assert b"three" not in answer
    assert len(daemon.questions) == 1, "the connection ends with the first answer, which said so"


async def test_a_draining_daemon_starts_nothing(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.app.begin_drain()

    answer = await post(daemon, sh("true"))

    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")


async def test_when_all_sessions_are_taken_the_answer_is_503(start_http: Start) -> None:
    daemon = await start_http(process_door=True, max_sessions=1)

    async with daemon.raw() as connection:
        await started(connection, HOLD)

        assert (await post(daemon, sh("true", alias="b"))).status_code == 503
    assert len(daemon.questions) == 1


async def test_a_grant_that_wants_a_terminal_gets_pipes(start_http: Start) -> None:
    daemon = await start_http(process_door=True)
    daemon.allow(tty=True)

    assert (await post(daemon, sh("test -t 1 || echo pipe"))).text == "pipe\n"
