"""The smallest terminado server, a new terminal for each connection: `terminado_server.py PORT COMMAND ARGS...`."""

import asyncio
import logging
import sys

from terminado.management import UniqueTermManager
from terminado.websocket import TermSocket
from tornado.web import Application


async def serve(port: int, command: list[str]) -> None:
    """Serve /ws until killed."""
    logging.disable(logging.WARNING)
    manager = UniqueTermManager(shell_command=command)
    Application([(r"/ws", TermSocket, {"term_manager": manager})]).listen(port, "127.0.0.1")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), sys.argv[2:]))
