"""A function that hears of each end of a command, and of what the request wanted it to know (`callback_context`).

It has returned before the result can be fetched. A plain function runs on a thread; an `async` one, on the loop.
"""

import asyncio
from typing import Any

import httpx
from starlette.applications import Starlette

from ws_subprocess.service.command_future import CommandFuture
from ws_subprocess.shell2http import Shell2HTTP

app = Starlette()
shell2http = Shell2HTTP(app)


def report_end(context: dict[str, Any], future: CommandFuture) -> None:
    """Print what is known of a job that has ended."""
    print("done:", future.done(), "context:", context, "report:", future.result()["report"].strip())


shell2http.register_command(endpoint="echo/callback", command_name="echo", callback_fn=report_end)


async def main() -> None:
    """Run two jobs, one with a context for the callback."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        for fields in (
            {"args": ["hello", "world"]},
            {"args": ["hello", "again"], "callback_context": {"ticket": 42}},
        ):
            started = (await client.post("/echo/callback", json=fields)).json()
            await client.get("/echo/callback", params={"key": started["key"], "wait": "true"})


if __name__ == "__main__":
    asyncio.run(main())
