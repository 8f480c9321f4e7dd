"""Words that every floor shares: who asks (credentials, peer), what may run (grant), how it ended (exit status)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True, slots=True)
class LaunchRequest:
    """What a client asks a door for. `size` is the client's own window, when it named one."""

    door: str
    peer: str
    size: Size | None = None


@dataclass(frozen=True, slots=True)
class Grant:
    """Leave to run one command. Only `auth` makes one; the spawner requires one.

    `idle_timeout_s` and `max_lifetime_s` are seconds, None for no limit. Bounds of all fields: PROTOCOL.md, "The
    grant".
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
    read_only: bool = False


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
