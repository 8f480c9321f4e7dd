"""`python -m example_controller`: serve the host application alone and say how to start the daemon for it.

`python -m example_controller -- COMMAND ARGS` is the one-command variant: no login, one program.
"""

import argparse
import logging
import os
import re
import shlex
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette

from example_controller.app import create_app
from example_controller.database import Database, DatabaseError
from example_controller.guard import CONTROLLER_PATH
from example_controller.listening import Address, address, listen
from example_controller.passwords import hash_password
from example_controller.programs import DEMO_USERS, CommandMissingError, single_command
from example_controller.signing import KeyFileError, read_key

EXIT_INTERRUPTED = 130
SHUTDOWN_TIMEOUT_S = 2
KEEP_ALIVE_S = 75

# A host in a Content-Security-Policy is a name or an IPv4 address; it has no word for [::1].
DAEMON_URL = re.compile(r"https?://[A-Za-z0-9.-]+(:\d{1,5})?(/[A-Za-z0-9._~-]+)*")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM; return the exit code."""
    parser = _parser()
    options = parser.parse_args(arguments)
    try:
        only_program = single_command(options.command) if options.command else None
        key = read_key(options.sign_with) if options.sign_with else None
        listener = listen(options.listen)
        database = _open_database(options.database)
    except (CommandMissingError, DatabaseError, KeyFileError) as exc:
        parser.error(str(exc))
    except OSError as exc:
        parser.error(f"--listen {options.listen}: {exc.strerror}")
    if only_program is None:
        for user in DEMO_USERS:
            database.add_user(user.name, hash_password(user.password))
    origin = f"http://{Address(options.listen.host, listener.getsockname()[1])}"
    hints = daemon_options(origin) + (["--controller-hmac-key", f"file:{options.sign_with}"] if key else [])
    print("The daemon that goes with it:", shlex.join(["ws-subprocess", "serve", *hints]))
    _log_to_stderr()
    try:
        return _serve(create_app(database, origin, options.daemon, only_program, key), listener, origin)
    finally:
        database.close()


def daemon_options(origin: str) -> list[str]:
    """Return the options of `ws-subprocess serve` that make it ask the controller at `origin` and let its pages in."""
    return ["--controller-url", f"{origin}{CONTROLLER_PATH}", "--allow-origin", origin]


def default_database() -> Path:
    """Return where users, logins and tokens are kept from one start to the next."""
    state = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(state) / "ws-subprocess-example" / "controller.sqlite3"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m example_controller", description=__doc__)
    parser.add_argument("--listen", type=address, default="127.0.0.1:8867", metavar="HOST:PORT", help="%(default)s")
    parser.add_argument(
        "--daemon", type=_daemon_url, default="http://127.0.0.1:8866", metavar="URL", help="ws-subprocess; %(default)s"
    )
    parser.add_argument("--database", type=Path, default=default_database(), metavar="FILE", help="SQLite; %(default)s")
    parser.add_argument("--sign-with", type=Path, metavar="FILE", help="key that the daemon has as controller_hmac_key")
    parser.add_argument("command", nargs="*", metavar="COMMAND", help="after --: the only program, for everybody")
    return parser


def _daemon_url(text: str) -> str:
    url = text.rstrip("/")
    if not DAEMON_URL.fullmatch(url):
        raise argparse.ArgumentTypeError(f"{text!r} is not http://NAME:PORT or http://NAME:PORT/PATH")
    return url


def _open_database(path: Path) -> Database:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # For its owner only: grants may hold secrets in their environment.
        path.touch(mode=0o600)
    except OSError as exc:
        raise DatabaseError(f"{path}: {exc.strerror}; name another file with --database") from exc
    return Database(str(path))


def _log_to_stderr() -> None:
    # No access log, of uvicorn or of a proxy in front: a token stands in the daemon's question.
    form = "%(levelname)s %(name)s %(message)s user=%(user)s program=%(program)s"
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter(form, defaults={"user": "-", "program": "-"}))
    logging.getLogger("example_controller").addHandler(handler)
    logging.getLogger("example_controller").setLevel(logging.INFO)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, origin: str) -> None:
        super().__init__(config)
        self._origin = origin

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # Not earlier: whoever waits for this line may send a request or a signal at once.
        print("ready", self._origin, flush=True)


def _serve(app: Starlette, listener: socket.socket, origin: str) -> int:
    config = uvicorn.Config(
        app,
        ws="none",
        log_config=None,
        access_log=False,
        # /ws-controller trusts the address of the peer, so nobody may claim another one in a header.
        proxy_headers=False,
        # Longer than the daemon keeps an idle connection, so that it never asks on one that is just being closed.
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )
    try:
        _Server(config, origin).run(sockets=[listener])
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
