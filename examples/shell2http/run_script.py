"""A script that runs when somebody posts to its path; the request needs no body."""

import asyncio
from pathlib import Path

import httpx
from starlette.applications import Starlette

from ws_subprocess.shell2http import Shell2HTTP

SCRIPT = Path(__file__).with_name("hello.sh")

app = Starlette()
shell2http = Shell2HTTP(app, base_url_prefix="/scripts/")
shell2http.register_command(endpoint="hello", command_name=f"sh {SCRIPT}")


async def main() -> None:
    """Start the script, and wait for its result."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        started = (await client.post("/scripts/hello")).json()
        result = (await client.get("/scripts/hello", params={"key": started["key"], "wait": "true"})).json()
        print("exit code", result["returncode"], "report:", result["report"], end="")


if __name__ == "__main__":
    asyncio.run(main())
