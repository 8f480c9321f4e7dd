"""Words that every floor shares: who asks (credentials, peer), what may run (grant), how it ended (exit status)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import NewType

SessionId = NewType("SessionId", str)

SIZE_MAX = 2000
STDOUT = 1
STDERR = 2


@dataclass(frozen=True, slots=True)
class Size:
    """A terminal's size in characters, 1..2000 each."""

    rows: int
    cols: int


DEFAULT_SIZE = Size(rows=24, cols=80)


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a client showed to be let in. Never logged: the token stays out of `repr`."""

    token: str = field(repr=False)

    @property
    def token_hash(self) -> bytes:
        """The token's SHA-256: right for random tokens, which nobody can guess; passwords would need more."""
        return hashlib.sha256(self.token.encode()).digest()


class Right(StrEnum):
    """What a client may do with a session: begin it, see its output, type, send signals but KILL, send KILL."""

    START = "start"
    VIEW = "view"
    WRITE = "write"
    SIGNAL = "signal"
    KILL = "kill"


ALL_RIGHTS = frozenset(Right)
TO_WATCH = frozenset({Right.START, Right.VIEW})


@dataclass(frozen=True, slots=True)
class Proposal:
    """What a client would like to run, at doors where it may say so; None leaves it to whoever grants."""

    command: str
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What a client asks a door for. `size` is the client's own window, when it named one.

    `needs` is what the door is about to do; a grant without these rights is of no use there. Where bytes are to arrive
    as they were written `has_tty` is False: no terminal then, whatever the grant says.
    """

    door: str
    peer: str
    size: Size | None = None
    proposal: Proposal | None = None
    needs: frozenset[Right] = TO_WATCH
    has_tty: bool = True


@dataclass(frozen=True, slots=True)
class Confinement:
    """What the kernel holds a command to; None leaves it as the daemon has it.

    Attributes:
        user, group: Names; the user's own group when only the user is named.
        umask: 0..0o777.
        no_new_privs: No setuid program gains anything (PR_SET_NO_NEW_PRIVS, prctl(2)).
        memory_bytes, processes: Of the whole tree where there is a cgroup to be had.
        cpu_s, open_files: Of each process (RLIMIT_CPU, RLIMIT_NOFILE, getrlimit(2)).
    """

    user: str | None = None
    group: str | None = None
    umask: int | None = None
    no_new_privs: bool = False
    memory_bytes: int | None = None
    processes: int | None = None
    cpu_s: int | None = None
    open_files: int | None = None


UNCONFINED = Confinement()


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to run one command. Only `auth` makes one; the spawner requires one.

    `principal` is who it was given to, "" when nobody said. `idle_timeout_s` and `max_lifetime_s` are seconds,
    `max_output_bytes` bytes, None for no limit. Bounds of all fields: PROTOCOL.md, "The grant".
    """

    command: str
    args: tuple[str, ...] = ()
    cwd: str | None = None
    env: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    tty: bool = True
    size: Size = DEFAULT_SIZE
    title: str = ""
    idle_timeout_s: float | None = None
    max_lifetime_s: float | None = None
    max_output_bytes: int | None = None
    rights: frozenset[Right] = ALL_RIGHTS
    confinement: Confinement = UNCONFINED
    principal: str = ""


@dataclass(frozen=True, slots=True)
class ExitStatus:
    """How a child ended: `code` 0..255, or None and the `signal` number that killed it; never folded into one.

    Both None: unknown, because somebody else in this process reaped it.
    """

    code: int | None
    signal: int | None

    @property
    def is_unknown(self) -> bool:
        """Whether nobody can say how it ended."""
        return self.code is None and self.signal is None
