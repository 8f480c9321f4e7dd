"""A function that replaces the report, for a command that writes its result to a file and not to its output."""

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import httpx
from starlette.applications import Starlette

from ws_subprocess.service.command_future import CommandFuture
from ws_subprocess.shell2http import Shell2HTTP

FOLDER = Path(tempfile.gettempdir())

app = Starlette()
shell2http = Shell2HTTP(app)


def take_result_from_file(context: dict[str, Any], future: CommandFuture) -> None:
    """Put the contents of the file that the request names into the report."""
    # Its name alone: no client chooses a folder.
    path = FOLDER / Path(context["read_result_from"]).name
    result = future.result()
    result["report"] = path.read_text()
    future.set_result(result)
    path.unlink()


shell2http.register_command(endpoint="save", command_name="dd status=none", callback_fn=take_result_from_file)


async def main() -> None:
    """Have dd write a file, and get its contents as the report."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        with tempfile.NamedTemporaryFile(dir=FOLDER, delete=False) as file:
            fields = {
                "args": [f"of={file.name}"],
                "stdin": "written by dd\n",
                "callback_context": {"read_result_from": file.name},
            }
        started = (await client.post("/save", json=fields)).json()
        result = (await client.get("/save", params={"key": started["key"], "wait": "true"})).json()
        print("report:", result["report"], end="")


if __name__ == "__main__":
    asyncio.run(main())
