"""The program: `ws-subprocess [serve|run|config|token|doctor]`.

Without a subcommand it serves, as the original program did.
"""

import os
import sys

import click

from ws_subprocess import __version__
from ws_subprocess.cli.config import config
from ws_subprocess.cli.doctor import doctor
from ws_subprocess.cli.flags import CONTEXT_SETTINGS
from ws_subprocess.cli.run import run
from ws_subprocess.cli.serve import serve
from ws_subprocess.cli.token import token


class ServeByDefault(click.Group):
    """A group that takes a command line without a subcommand for `serve`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `serve` before flags that are not the group's own."""
        own = {name for option in self.get_params(ctx) for name in option.opts}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


@click.group(cls=ServeByDefault, context_settings=CONTEXT_SETTINGS)
@click.version_option(__version__, "--version", "-version", message="%(prog)s %(version)s")
def program() -> None:
    """Approved commands in a browser tab: a websocket, a token, a controller, a process on a PTY.

    Without COMMAND it serves: `ws-subprocess -listen ... -controller-url ...` is `ws-subprocess serve ...`.
    """


def open_missing_streams() -> None:
    """Give a process without stdin, stdout or stderr empty ones, so that no socket gets their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            # The kernel gives the lowest free number; in this order that is the stream's own.
            setattr(sys, name, open(os.devnull, mode))  # noqa: SIM115 - open as long as the process


program.add_command(serve)
program.add_command(run)
program.add_command(config)
program.add_command(token)
program.add_command(doctor)


def main() -> None:
    """Run the program; does not return."""
    open_missing_streams()
    program.main(prog_name="ws-subprocess")
