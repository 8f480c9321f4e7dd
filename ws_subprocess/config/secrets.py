"""Secrets are named, never written out: `file:PATH` or `env:NAME`. A setting, which `ps` and `config show` may show,
only holds the name.

Law: a file that anyone may read holds no secret any more, and is refused.
"""

import os
import re
import stat
from collections.abc import Mapping

from ws_subprocess.opening import open_at_once

MAX_BYTES = 64 * 1024
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEY = re.compile(r"(?:([A-Za-z0-9._-]{1,128})=)?([A-Za-z0-9]{1,16}):((?:file|env):.*)", re.DOTALL)


class SecretInPlaceError(ValueError):
    """A secret stands where its name should."""


def parse_secret(text: str) -> str:
    """Return a reference to a secret, `file:PATH` or `env:NAME`, or "" for none, as it was written."""
    scheme, _, name = text.partition(":")
    if not text or (scheme == "file" and name and "\0" not in name):
        return text
    if scheme == "env" and _VARIABLE.fullmatch(name):
        return text
    # Also behind `env:`, where a shell may have put it: env:$KEY.
    raise SecretInPlaceError("a secret does not belong here, where others see it; write file:/path/of/it or env:NAME")


def parse_key(text: str) -> str:
    """Return a reference to a key, `[KID=]ALGORITHM:file:PATH` or `[KID=]ALGORITHM:env:NAME`, as it was written."""
    match = _KEY.fullmatch(text)
    if match is None:
        raise SecretInPlaceError("not the name of a key; write HS256:file:/path/of/it, kid=ES256:env:NAME")
    parse_secret(match[3])
    return text


def split_key(text: str) -> tuple[str, str, str]:
    """Return key id ("" for none), algorithm and secret reference of what `parse_key` returned."""
    match = _KEY.fullmatch(text)
    assert match is not None
    return match[1] or "", match[2], match[3]


def read_secret(reference: str, environ: Mapping[str, str], is_public: bool = False) -> bytes:
    """Return the secret that `reference` names; of a line of text without the newline at its end.

    Args:
        is_public: It is a public key, say, which anyone may read.

    Raises:
        ValueError: It is not there, or not fit to be used; says what to do.
    """
    scheme, _, name = reference.partition(":")
    if scheme == "env":
        if not environ.get(name):
            raise ValueError(f"the environment has no {name}; set it")
        return environ[name].encode("utf-8", "surrogateescape")
    try:
        with open(name, "rb", opener=open_at_once) as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(MAX_BYTES + 1) if stat.S_ISREG(mode) else b""
    except OSError as exc:
        raise ValueError(f"cannot be read: {exc.strerror}; name a readable file") from exc
    if not stat.S_ISREG(mode):
        raise ValueError("not a regular file; name the file itself")
    if mode & stat.S_IWOTH or (mode & stat.S_IROTH and not is_public):
        raise ValueError("anyone may read or write it; run `chmod o=` on it, and make a new one if it is in use")
    if not content or len(content) > MAX_BYTES:
        raise ValueError(f"empty, or larger than {MAX_BYTES} bytes")
    return _strip_newline(content)


def _strip_newline(content: bytes) -> bytes:
    """Return a line of text without the newline at its end; of random bytes the last may happen to look like one."""
    line = content.removesuffix(b"\n").removesuffix(b"\r")
    # What is no UTF-8 becomes half a surrogate pair, which cannot be printed either.
    return line if line.decode("utf-8", "surrogateescape").isprintable() else content
