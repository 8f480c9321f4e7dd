"""Files of a request as arguments of the command: `@name` stands for the file that was sent as `name`.

The command finds each in a folder of its own, which is gone when it has ended. Two files may have the same file name.
"""

import asyncio
import json

import httpx
from starlette.applications import Starlette

from ws_subprocess.shell2http import Shell2HTTP

app = Starlette()
# An application factory would make the extension first, and bind it to its application later.
shell2http = Shell2HTTP(base_url_prefix="/cmd/")
shell2http.init_app(app)
shell2http.register_command(endpoint="join", command_name="cat")


async def main() -> None:
    """Send two files, and get them back as one."""
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://localhost") as client,
    ):
        files = {"first": ("notes.txt", b"from the first file\n"), "second": ("notes.txt", b"from the second file\n")}
        form = {"request_json": json.dumps({"args": ["@first", "@second"]})}
        started = (await client.post("/cmd/join", files=files, data=form)).json()
        result = (await client.get("/cmd/join", params={"key": started["key"], "wait": "true"})).json()
        print(result["report"], end="")


if __name__ == "__main__":
    asyncio.run(main())
