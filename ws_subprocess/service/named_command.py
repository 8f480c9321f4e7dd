"""A command that is served by its name, and the keys of its jobs. Pure.

Laws: equal requests have equal keys, different ones different keys as far as their digits allow; where no argument
holds a space, the key is what Flask-Shell2HTTP's clients compute: the first 8 hex digits of SHA-1 over all, joined by
spaces.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

from ws_subprocess.service.job import Retention

TIMEOUT_DEFAULT_S = 3600.0
KEY_CHARS = 8
LONG_KEY_CHARS = 16


@dataclass(frozen=True, slots=True)
class NamedCommand:
    """One command and how its jobs are run.

    Attributes:
        name: What its jobs are found through, and the end of its path.
        command: Absolute path.
        args: Come before those of a request.
        spelled: The command and its arguments as its operator wrote them: what keys and messages are made of.
        timeout_s: Longest time of a job, and the time of one whose request names none; None for `TIMEOUT_DEFAULT_S`
            where none is named, and no bound.
        max_running: Jobs at a time, None for no limit but that of all.
        allow_args, allow_files: Whether a request may bring arguments, and files for them.
    """

    name: str
    command: str
    args: tuple[str, ...] = ()
    spelled: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    timeout_s: float | None = None
    max_running: int | None = None
    priority: int = 0
    retention: Retention = Retention.ONCE
    ttl_s: float | None = None
    allow_args: bool = True
    allow_files: bool = True

    def choose_timeout(self, asked_s: float | None) -> float:
        """Return the time of a job whose request names `asked_s`."""
        if self.timeout_s is None:
            return asked_s or TIMEOUT_DEFAULT_S
        return min(asked_s or self.timeout_s, self.timeout_s)


def derive_key(parts: Sequence[str], stdin: bytes | None = None) -> str:
    """Return the key of a request to run `parts`: the command as it is spelled, then all arguments.

    SHA-1 is no secret's guard here: a key names a job, its token guards it.
    """
    is_plain = stdin is None and all(part and " " not in part for part in parts)
    if is_plain:
        text = " ".join(parts).encode("utf-8", "surrogateescape")
    else:
        # No argument can hold a NUL, so that nothing else reads like this.
        text = b"".join(part.encode("utf-8", "surrogateescape") + b"\0" for part in parts)
    if stdin is not None:
        text += b"\0" + hashlib.sha256(stdin).digest()
    return _hash(text)[:KEY_CHARS]


def derive_own_key(key: str, parts: Sequence[str], owner: bytes) -> str:
    """Return the key for when `key` is taken by another command line, or by somebody else's job."""
    text = b"\0".join([key.encode("ascii"), owner, *(part.encode("utf-8", "surrogateescape") for part in parts)])
    return _hash(b"own\0" + text)[:LONG_KEY_CHARS]


def derive_idempotent_key(idempotency_key: str, owner: bytes) -> str:
    """Return the key of the one job that a client's Idempotency-Key stands for."""
    return _hash(b"idempotent\0" + owner + b"\0" + idempotency_key.encode("ascii"))[:LONG_KEY_CHARS]


def _hash(text: bytes) -> str:
    return hashlib.sha1(text, usedforsecurity=False).hexdigest()
