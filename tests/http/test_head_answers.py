"""HEAD of what takes long or is taken away by GET: RFC 9110, sections 8.6 and 9.3.2."""

import asyncio

from command_daemon import CommandDaemon

EVENTS = {"Accept": "text/event-stream"}


async def test_head_of_a_report_tells_no_length_but_that_of_the_report(commands_anywhere: CommandDaemon) -> None:
    key = await commands_anywhere.start("echo", args=["hello"])
    await commands_anywhere.ends("echo")

    told = await commands_anywhere.client.head(f"/commands/echo?key={key}")
    report = await commands_anywhere.get("echo", key)

    assert told.headers.get("content-length", report.headers["content-length"]) == report.headers["content-length"]


async def test_head_of_events_does_not_wait_for_them(commands_anywhere: CommandDaemon) -> None:
    key = await commands_anywhere.start("sh", args=["sleep 1000"])

    async with asyncio.timeout(5):
        for path in ("/commands/sh", "/commands/sh/output"):
            told = await commands_anywhere.client.head(f"{path}?key={key}", headers=EVENTS)
            assert (told.status_code, told.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
            assert "content-length" not in told.headers
        # The connection is free for the next request, so the stream has ended at the server, too.
        assert (await commands_anywhere.client.get("/healthz")).status_code == 200
    await commands_anywhere.client.delete(f"/commands/sh?key={key}")
