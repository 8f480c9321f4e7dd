"""What a job is: a granted command that outlives the request which asked for it. Pure.

Laws: a job's state only moves forward (`PENDING` -> `WORKING` -> an end, or straight to an end); what a client was told
(202, 201) is on the disk before; neither token, environment nor input of a job is ever written down.
"""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, NewType

from ws_subprocess.errors import RequestError
from ws_subprocess.model import Grant

JobId = NewType("JobId", str)


class JobState(StrEnum):
    """Where a job is. All but the first two are ends.

    FINISHED: the command ended by itself, whatever its exit code. FAILED: it could not be started. KILLED: somebody
    asked for its end, or a limit of its grant did. TIMED_OUT: its time was up. LOST: the daemon died while it ran, or
    before it could begin.
    """

    PENDING = "pending"
    WORKING = "working"
    FINISHED = "finished"
    FAILED = "failed"
    KILLED = "killed"
    TIMED_OUT = "timed_out"
    LOST = "lost"

    @property
    def is_end(self) -> bool:
        """Whether nothing more will happen."""
        return self not in (JobState.PENDING, JobState.WORKING)


class Retention(StrEnum):
    """What becomes of a result that was read: gone with the first reading, or kept until its time is over."""

    ONCE = "once"
    KEEP = "keep"


@dataclass(frozen=True, slots=True)
class Owner:
    """Who a job belongs to: who shows the token that started it (its SHA-256), or a token of the same principal.

    `principal` "" is nobody's name: then only the token counts.
    """

    token_hash: bytes = field(repr=False)
    principal: str = ""

    def has_token(self, token_hash: bytes) -> bool:
        """Tell whether this is the hash of the very token."""
        return hmac.compare_digest(self.token_hash, token_hash)

    def is_same(self, other: "Owner") -> bool:
        """Tell whether what belongs to one belongs to the other."""
        return self.has_token(other.token_hash) or (self.principal != "" and self.principal == other.principal)


@dataclass(frozen=True, slots=True)
class JobSpec:
    """What is to be done.

    Attributes:
        door: Which way in.
        name: Which command of the door; jobs are found through it alone.
        key: No two jobs of one door and name, not forgotten, have the same; "" for one of its own (the id).
        lane: Jobs of one lane share its limit of jobs at a time.
        priority: Higher ones begin first; those of one priority take turns by principal, then by age.
        timeout_s: None for no limit but the grant's.
        ttl_s: How long the result is kept after the end.
        facts: What the door wants to remember (arguments as given, a callback's context): JSON values, no secrets.
        stdin: Input for the command, then end of file; held in memory only.
        takes_input: Input may come while it runs (`Jobs.write_input`), until `Jobs.end_input`; else it ends at once.
        folder: Its uploads, made by `Jobs.make_folder` and removed with its end; None when there are none.
    """

    door: str
    name: str
    grant: Grant
    owner: Owner
    key: str = ""
    lane: str = ""
    priority: int = 0
    timeout_s: float | None = None
    ttl_s: float = 3600.0
    retention: Retention = Retention.ONCE
    facts: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    stdin: bytes | None = field(default=None, repr=False)
    takes_input: bool = False
    folder: Path | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What is known of a job now; a snapshot.

    Attributes:
        key: The spec's, or the one that was made.
        command, args: What runs, for lists and for a start after a restart.
        error: Why it could not be started, was killed or lost; "" otherwise.
        exit_code, signal: As `model.ExitStatus`.
        created_at, started_at, ended_at: Unix time.
        stdout_bytes, stderr_bytes: Output there is; `is_cut` when there was more than may be kept.
        stdout_sha256, stderr_sha256: Hex, of a job that began and has ended; "" before, and when it was lost.
    """

    id: JobId
    door: str
    name: str
    key: str
    owner: Owner
    state: JobState
    command: str
    args: tuple[str, ...]
    facts: Mapping[str, Any]
    retention: Retention
    created_at: float
    started_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    exit_code: int | None = None
    signal: int | None = None
    stdout_bytes: int = 0
    stderr_bytes: int = 0
    stdout_sha256: str = ""
    stderr_sha256: str = ""
    is_cut: bool = False
    session: str = ""


class JobExistsError(RequestError):
    """Another job has this key.

    Attributes:
        job: That one.
    """

    job: Job


@dataclass(frozen=True, slots=True)
class JobPage:
    """A part of a list; `after` is what the next part comes after, "" when this is the last one."""

    jobs: list[Job]
    after: str


@dataclass(frozen=True, slots=True)
class JobLimits:
    """How many jobs at a time run, wait and are kept; how many bytes of those that have not ended are in memory."""

    running: int = 16
    waiting: int = 10_000
    kept: int = 100_000
    held_bytes: int = 256 * 1024 * 1024
