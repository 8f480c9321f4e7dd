"""Clients that wait for a job, and leave."""

from command_daemon import CommandDaemon
from observing import until


async def test_a_client_that_leaves_waits_for_nothing_any_more(commands_anywhere: CommandDaemon) -> None:
    jobs = commands_anywhere.http.app.jobs
    key = await commands_anywhere.start("sh", args=["sleep 1000"])

    async with commands_anywhere.http.raw() as connection:
        connection.send("GET", f"/commands/sh?key={key}&wait=true", content_length="")
        await until(lambda: jobs._waiters == 1, "the client waits")

    await until(lambda: jobs._waiters == 0, "nobody waits")
    await commands_anywhere.client.delete(f"/commands/sh?key={key}")
