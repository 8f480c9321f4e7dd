"""`ws-subprocess token`: make, hash and explain tokens.

Law: no token is ever taken from the command line, where `ps` and the shell's history would show it.
"""

import click

from ws_subprocess.cli.flags import CONTEXT_SETTINGS
from ws_subprocess.cli.token_hash import hash_token
from ws_subprocess.cli.token_inspect import inspect_token
from ws_subprocess.cli.token_mint import mint_token


@click.group(context_settings=CONTEXT_SETTINGS)
def token() -> None:
    """Make tokens, and explain them."""


token.add_command(hash_token)
token.add_command(mint_token)
token.add_command(inspect_token)
