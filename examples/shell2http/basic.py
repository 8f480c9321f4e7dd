"""A command behind a path: each request brings its arguments, and fetches the result when it is there."""

import asyncio

import httpx
from starlette.applications import Starlette

from ws_subprocess.shell2http import Shell2HTTP

app = Starlette()
shell2http = Shell2HTTP(app, base_url_prefix="/cmd/")
shell2http.register_command(endpoint="echo", command_name="echo")


async def main() -> None:
    """Run `echo Hello World!`, and look now and then whether it is done."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        started = (await client.post("/cmd/echo", json={"args": ["Hello", "World!"]})).json()
        print("started:", started["key"])
        result = (await client.get(started["result_url"])).json()
        while result.get("status") == "running":
            await asyncio.sleep(0.05)
            result = (await client.get(started["result_url"])).json()
        print("report:", result["report"], end="")


if __name__ == "__main__":
    asyncio.run(main())
