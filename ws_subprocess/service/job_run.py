"""A job that has not ended, and the attending of its session: input in, output to the spool, its time, its end.

Law: output is taken from the session no faster than the disk takes it, so memory is bounded whatever a command says.
"""

import asyncio
from dataclasses import dataclass, field, replace

from ws_subprocess.errors import FAULTS
from ws_subprocess.model import STDERR, STDOUT, LaunchRequest, SessionId
from ws_subprocess.service.job import Job, JobSpec, JobState
from ws_subprocess.service.lanes import Place
from ws_subprocess.service.launch import make_session_id
from ws_subprocess.sessions.attachment import Attachment
from ws_subprocess.sessions.replay import Gap
from ws_subprocess.sessions.session import Session
from ws_subprocess.store.spool import JobOutput, Spool
from ws_subprocess.telemetry import request_id

STOPPED = "cancelled"
_PIECE_BYTES = 64 * 1024
# Of one wait for the disk.
_BATCH_BYTES = 512 * 1024
_OUT_OF_TIME = ("timed_out", "idle_timeout", "lifetime_exceeded")


@dataclass(slots=True, eq=False)
class LiveJob:
    """A job that waits or works.

    Attributes:
        size_bytes: What it takes in memory, in about.
        session_id: Which session it will be, and the mark that its processes will have.
        job: The latest snapshot; what the database says of it may be ahead, never behind.
        output: None until it begins.
        is_stopped: Somebody asked for its end.
        is_noted: The database says that it works, or may say so.
        waiters: Each is set when `job` changed.
        cause: The id of the request that it was made for.
    """

    job: Job
    spec: JobSpec
    request: LaunchRequest
    size_bytes: int = 0
    session_id: SessionId = field(default_factory=make_session_id)
    output: JobOutput | None = None
    session: Session | None = None
    attachment: Attachment | None = None
    is_stopped: bool = False
    is_noted: bool = False
    waiters: set[asyncio.Future[None]] = field(default_factory=set)
    cause: str = field(default_factory=request_id.get)

    @property
    def key(self) -> tuple[str, str, str]:
        """What no other job has."""
        return self.job.door, self.job.name, self.job.key

    @property
    def place(self) -> Place:
        """Where it waits for its turn."""
        return Place(self.spec.lane, self.job.owner.principal, self.spec.priority)

    def change(self, job: Job) -> None:
        """Take a new snapshot, and wake who waits for one."""
        self.job = job
        self.wake()

    def wake(self) -> None:
        """Let all waiters look again."""
        for waiter in self.waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def wait_for_change(self) -> None:
        """Return after the next change; looking and calling this must not be parted by another await."""
        waiter = asyncio.get_running_loop().create_future()
        self.waiters.add(waiter)
        try:
            await waiter
        finally:
            self.waiters.discard(waiter)

    def stop(self) -> None:
        """End its whole tree, or see that it never begins."""
        self.is_stopped = True
        if self.session is not None:
            self.session.hang_up(STOPPED)


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended."""

    state: JobState
    error: str = ""
    exit_code: int | None = None
    signal: int | None = None


async def attend(live: LiveJob, session: Session, spool: Spool) -> Outcome:
    """Carry a session's input and output until nothing is left of it, and return how it ended."""
    moved = asyncio.Event()

    def wake() -> None:
        moved.set()
        if live.spec.takes_input:
            live.wake()

    attachment = session.attach(wake, lambda _: None, has_acks=False)
    live.session, live.attachment, live.output = session, attachment, spool.begin(live.job.id)
    timer = _set_timer(session, live.spec.timeout_s)
    try:
        session.start()
        if live.spec.stdin:
            attachment.write(live.spec.stdin)
        if not live.spec.takes_input:
            session.end_input()
        await _drain(live, attachment, session, spool, moved)
        await asyncio.shield(session.finished)
    finally:
        if timer is not None:
            timer.cancel()
        attachment.detach()
        live.output.close()
    return _conclude(session, live.spec, live.output)


async def _drain(live: LiveJob, attachment: Attachment, session: Session, spool: Spool, moved: asyncio.Event) -> None:
    assert live.output is not None
    while True:
        moved.clear()
        pieces = _take(attachment, live.output)
        if pieces:
            await spool.write(live.output, pieces)
            sizes = live.output.sizes
            live.change(
                replace(live.job, stdout_bytes=sizes[STDOUT], stderr_bytes=sizes[STDERR], is_cut=live.output.is_cut)
            )
        elif attachment.ended is not None or session.finished.done():
            return
        else:
            await moved.wait()


def _take(attachment: Attachment, output: JobOutput) -> list[tuple[int, bytes]]:
    """Return what there is to write, at most a batch."""
    pieces: list[tuple[int, bytes]] = []
    size = 0
    while size < _BATCH_BYTES and (found := attachment.read(_PIECE_BYTES)) is not None:
        if isinstance(found, Gap):
            # A session that is being ended no longer waits for us.
            output.is_cut = True
            continue
        pieces.append((found.stream, found.data))
        size += len(found.data)
    return pieces


def _set_timer(session: Session, timeout_s: float | None) -> asyncio.TimerHandle | None:
    def end() -> None:
        # What has exited was in time, though something it left behind may live on for a moment.
        if session.is_running:
            session.kill("timed_out")

    return None if timeout_s is None else asyncio.get_running_loop().call_later(timeout_s, end)


def _conclude(session: Session, spec: JobSpec, output: JobOutput) -> Outcome:
    status = session.ended.status if session.ended else None
    code, number = (status.code, status.signal) if status else (None, None)
    match session.reason:
        case "":
            return Outcome(JobState.FINISHED, output.error, code, number)
        case "timed_out":
            return Outcome(JobState.TIMED_OUT, f"timed out after {spec.timeout_s:g} seconds", code, number)
        case reason if reason in _OUT_OF_TIME:
            return Outcome(JobState.TIMED_OUT, FAULTS[reason].title, code, number)
        case "draining":
            return Outcome(JobState.KILLED, "the daemon was stopped", code, number)
        case "cancelled":
            return Outcome(JobState.KILLED, "stopped on request", code, number)
        case reason:
            return Outcome(JobState.KILLED, FAULTS[reason].title if reason in FAULTS else reason, code, number)


def end_job(live: LiveJob, outcome: Outcome, now: float) -> Job:
    """Return the job as it will be seen once all know of its end."""
    job = replace(
        live.job,
        state=outcome.state,
        ended_at=now,
        error=outcome.error,
        exit_code=outcome.exit_code,
        signal=outcome.signal,
    )
    output = live.output
    if output is None:
        return job
    return replace(
        job,
        stdout_bytes=output.sizes[STDOUT],
        stderr_bytes=output.sizes[STDERR],
        stdout_sha256=output.get_sha256(STDOUT),
        stderr_sha256=output.get_sha256(STDERR),
        is_cut=output.is_cut,
    )
