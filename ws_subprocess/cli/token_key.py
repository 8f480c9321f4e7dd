"""`--key` of `token mint` and `token inspect`: it names a file or a variable, and is never the key itself."""

import os
from typing import NoReturn

from ws_subprocess.cli.flags import LongOption, exit_with
from ws_subprocess.config.problems import Problem
from ws_subprocess.config.secrets import parse_secret, read_secret


def key_options(is_required: bool, meaning: str) -> list[LongOption]:
    """Return `--key` and `--alg`."""
    return [
        LongOption("--key", "key", metavar="FILE|env:NAME", required=is_required, help=meaning),
        LongOption(
            "--alg", "algorithm", default="", metavar="ALGORITHM", help="The key's algorithm  [default: by its kind]"
        ),
    ]


def read_key_data(key: str, is_public: bool = False) -> bytes:
    """Return what `--key` names, or exit with status 2.

    Args:
        is_public: Anyone may read it.
    """
    reference = key if key.startswith(("file:", "env:")) else f"file:{key}"
    try:
        return read_secret(parse_secret(reference), os.environ, is_public)
    except ValueError as exc:
        # Not what was given: it may be the key.
        refuse("--key", str(exc))


def refuse(origin: str, text: str) -> NoReturn:
    """Exit with status 2."""
    exit_with([Problem(origin, "bad_value", text)])
