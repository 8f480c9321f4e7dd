"""Stopping a command: DELETE ends it with all that it has started, and forgets it."""

import asyncio

import httpx
from starlette.applications import Starlette

from ws_subprocess.shell2http import Shell2HTTP

app = Starlette()
shell2http = Shell2HTTP(app)
shell2http.register_command(endpoint="sleep", command_name="sleep")


async def main() -> None:
    """Start a long sleep, and stop it."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        started = (await client.post("/sleep", json={"args": ["1000"], "force_unique_key": True})).json()
        deleted = await client.delete("/sleep", params={"key": started["key"]})
        print("deleted:", deleted.status_code)
        print("afterwards:", (await client.get(started["result_url"])).json()["error"].partition(" for")[0])


if __name__ == "__main__":
    asyncio.run(main())
