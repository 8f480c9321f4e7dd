"""`ws-subprocess token hash`: a new token and its entry for the file of static tokens, or the entry of a given token.

Laws: a token is never taken from the command line, where `ps` and the shell's history would show it, and no message
repeats what stood there; what cannot be guessed need not be hashed slowly, so short tokens are refused.
"""

import json
import secrets
import sys

import click

from ws_subprocess.cli.flags import CONTEXT_SETTINGS, LongOption, exit_with
from ws_subprocess.config.problems import Problem

TOKEN_BYTES = 32

OPTIONS = [
    LongOption("--new", "is_new", is_flag=True, help="Make a token; it is on stdout, its entry on stderr."),
    LongOption("--name", "name", default="me", metavar="NAME", help="Principal, in the audit  [default: me]"),
    click.Argument(["misplaced"], nargs=-1, type=click.UNPROCESSED, metavar=""),
]


class TakesNoArguments(click.Command):
    """A command that finds whatever it does not know among its arguments, and never repeats it."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Take `-h` for itself alone: as a short option it would also be found inside a token that begins with `-`."""
        return super().parse_args(ctx, ["--help" if arg == "-h" else arg for arg in args])


@click.command(
    "hash",
    cls=TakesNoArguments,
    context_settings=CONTEXT_SETTINGS | {"ignore_unknown_options": True, "help_option_names": ["--help", "-help"]},
    params=OPTIONS,
)
def hash_token(is_new: bool, name: str, misplaced: tuple[str, ...]) -> None:
    """Make the entry of a token for `tokens_file`, which keeps its hash only.

    The token is read from stdin, hidden when that is a terminal; with --new a random one is made and shown once:

        TOKEN=$(ws-subprocess token hash --new --name ci)
    """
    # Not at the top: `--help` must not wait for it.
    from ws_subprocess.auth.tokens_file import NAME_MAX_CHARS

    if misplaced:
        text = "takes no arguments: others see the command line; give a token on stdin, or make one with --new"
        _refuse("command line", "secret_in_argv", text)
    if not 1 <= len(name) <= NAME_MAX_CHARS or not name.isprintable():
        _refuse("--name", "bad_value", f"not 1 to {NAME_MAX_CHARS} printable characters")
    if is_new:
        token = secrets.token_urlsafe(TOKEN_BYTES)
        click.echo(_show_entry(token, name), err=True)
        click.echo(token)
    else:
        click.echo(_show_entry(_read_token(), name))


def _read_token() -> str:
    """Return the token on stdin, or exit with status 2 when none can be used."""
    from ws_subprocess.auth.tokens_file import TOKEN_MIN_CHARS
    from ws_subprocess.doors.handshake import TOKEN_MAX_BYTES

    if sys.stdin.isatty():
        token: str = click.prompt("Token", hide_input=True, err=True, default="", show_default=False)
    else:
        content = sys.stdin.buffer.read(TOKEN_MAX_BYTES + 3)
        token = content.decode("utf-8", "surrogateescape").removesuffix("\n").removesuffix("\r")
    if not token.isprintable() or " " in token:
        # Half a character counts as one that cannot be shown.
        _refuse("stdin", "bad_value", "not one line of printable UTF-8 without spaces; give the token alone")
    if len(token) < TOKEN_MIN_CHARS:
        text = (
            f"{len(token)} characters, at least {TOKEN_MIN_CHARS} random ones are needed, for they are hashed quickly; "
            "make one with --new"
        )
        _refuse("stdin", "bad_value", text)
    if len(token.encode()) > TOKEN_MAX_BYTES:
        _refuse("stdin", "bad_value", f"longer than {TOKEN_MAX_BYTES} bytes, which no door takes")
    return token


def _show_entry(token: str, name: str) -> str:
    """Return what to paste: TOML, and nothing that anybody but the file's owner needs to keep secret."""
    from ws_subprocess.auth.tokens_file import show_hash

    lines = [
        "# For the file that tokens_file names; say where the token may be used and what it runs there.",
        "[[token]]",
        # JSON's strings are TOML's, too.
        f"name = {json.dumps(name, ensure_ascii=False)}",
        f'hash = "{show_hash(token)}"',
        'doors = ["terminal"]',
        'command = "/usr/bin/top"',
    ]
    return "\n".join(lines)


def _refuse(origin: str, code: str, text: str) -> None:
    exit_with([Problem(origin, code, text)])
