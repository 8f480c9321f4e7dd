"""Output of jobs in files, one folder each, and the uploads of those to come.

Laws: all calls wait for the disk on threads of their own; never more than `most_bytes` is kept in all, nor
`most_job_bytes` of one job, nor anything when less than a twentieth of the disk is left; what cannot be kept is dropped
and said to be. No name from outside becomes part of a path. Short output of recent jobs is held in memory too: most
output is short, is read once and soon, and then waits for no disk.
"""

import asyncio
import errno
import hashlib
import logging
import os
import re
import secrets
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from ws_subprocess.model import STDERR, STDOUT
from ws_subprocess.store.locks import keep_others_out
from ws_subprocess.store.trees import measure_tree, remove_tree
from ws_subprocess.store.used_tokens import StateError, find_fault

log = logging.getLogger(__name__)

T = TypeVar("T")
FILES = {STDOUT: "stdout", STDERR: "stderr"}
UPLOADS = "uploads"
_ID = re.compile(r"[0-9a-f]{32}")
# A disk that is full to the brim is of no use to anybody, and slow.
_LEAST_FREE_SHARE = 20
# What is held in memory: so much of a stream, of so many jobs; 4 MiB in all.
_HELD_BYTES = 4096
_HELD_MAX = 512


class JobOutput:
    """What a job has said: how much is kept of each stream, and its checksums. Written by `Spool` alone.

    Attributes:
        sizes: Bytes kept, by stream.
        is_cut: There was more than could be kept.
        error: Why, where it was not for its size: "" otherwise.
    """

    __slots__ = ("_descriptors", "_folder", "_hashes", "_held", "error", "is_cut", "sizes")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: dict[int, int] = {}
        self._hashes = {stream: hashlib.sha256() for stream in FILES}
        self._held = dict.fromkeys(FILES, b"")
        self.sizes = dict.fromkeys(FILES, 0)
        self.is_cut = False
        self.error = ""

    def get_sha256(self, stream: int) -> str:
        """Return the checksum of what is kept, in hex."""
        return self._hashes[stream].hexdigest()

    def get_short(self, stream: int) -> bytes | None:
        """Return all that is kept, None where that is too long to be held in memory."""
        held = self._held[stream]
        return held if len(held) == self.sizes[stream] else None

    def append(self, stream: int, data: bytes) -> None:
        """Write to the stream's file; what is written counts, also when the rest cannot be."""
        view = memoryview(data)
        while view:
            count = os.write(self._open(stream), view)
            self._hashes[stream].update(view[:count])
            if self.sizes[stream] + count <= _HELD_BYTES:
                self._held[stream] += view[:count]
            self.sizes[stream] += count
            view = view[count:]

    def close(self) -> None:
        """Give the files back; they stay on the disk."""
        while self._descriptors:
            os.close(self._descriptors.popitem()[1])

    def _open(self, stream: int) -> int:
        if stream not in self._descriptors:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptors[stream] = os.open(self._folder / FILES[stream], flags, 0o600)
        return self._descriptors[stream]


class Spool:
    """The folder of all output; made if it is missing, and locked for as long as it is open.

    Args:
        most_bytes: Of all jobs and uploads.
        most_job_bytes: Of one job's two streams.

    Raises:
        StateError: It cannot be used, or another daemon does.
    """

    def __init__(self, folder: Path, most_bytes: int, most_job_bytes: int) -> None:
        self._folder = folder
        self._most_job_bytes = most_job_bytes
        self.most_bytes = most_bytes
        self.used_bytes = 0
        # What uploads were counted as: their command may move, empty or enlarge them.
        self._adopted: dict[Path, int] = {}
        self._recent: OrderedDict[str, JobOutput] = OrderedDict()
        self._lock = _lock(folder)
        # What is counted is counted on one thread; reading needs no turn.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool-writer")
        self._reader = ThreadPoolExecutor(max_workers=2, thread_name_prefix="spool-reader")
        # What commands made of their uploads may take long to remove, and nobody's output should wait for that.
        self._remover = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool-remover")

    def has_room(self) -> bool:
        """Tell whether anything more may be kept."""
        if self.used_bytes >= self.most_bytes:
            return False
        try:
            status = os.statvfs(self._folder)
        except OSError:
            return False
        return status.f_bavail * _LEAST_FREE_SHARE >= status.f_blocks

    def begin(self, job: str) -> JobOutput:
        """Return what a job's output goes to; nothing is made before there is some."""
        output = self._recent[job] = JobOutput(self._locate(job))
        if len(self._recent) > _HELD_MAX:
            self._recent.popitem(last=False)
        return output

    async def write(self, output: JobOutput, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Keep what may be kept of these (stream, bytes)."""
        await self._on(self._writer, lambda: self._write(output, pieces))

    async def read(self, job: str, stream: int, offset: int, limit: int) -> bytes:
        """Return kept output; b"" where there is none, or no such job."""
        if _ID.fullmatch(job) is None:
            return b""
        if (recent := self._recent.get(job)) is not None and (short := recent.get_short(stream)) is not None:
            return short[offset : offset + limit]
        return await self._on(self._reader, lambda: _read(self._locate(job) / FILES[stream], offset, limit))

    async def measure(self, job: str) -> dict[int, int]:
        """Return how many bytes of each stream are on the disk."""
        folder = self._locate(job)
        return await self._on(self._reader, lambda: {stream: _measure(folder / name) for stream, name in FILES.items()})

    async def remove(self, jobs: Iterable[str]) -> None:
        """Forget the output of jobs."""
        folders = [folder for job in jobs if (folder := self._forget(job)) is not None]
        await self._on(self._writer, lambda: self._remove(folders))

    def remove_soon(self, job: str) -> None:
        """Forget the output of a job; its files are gone a little later."""
        if (folder := self._forget(job)) is not None:
            self._writer.submit(self._remove, [folder])

    async def make_folder(self) -> Path:
        """Return a new empty folder for uploads."""
        return await self._on(self._writer, self._make_folder)

    async def adopt_folder(self, folder: Path) -> None:
        """Count what is in a folder of uploads. Raises OSError (ENOSPC) when it is more than there is room for."""
        await self._on(self._writer, lambda: self._adopt(folder))

    def disown(self, folder: Path) -> None:
        """Count no longer what was adopted and belongs to nobody."""
        self._writer.submit(self._disown, folder)

    async def remove_folder(self, folder: Path) -> None:
        """Remove uploads, and count them no longer. A folder that is not one of ours is left alone."""
        if folder.parent == self._folder / UPLOADS:
            if not await self._on(self._remover, lambda: remove_tree(folder)):
                log.warning("uploads cannot be removed; the next start tries again", extra={"folder": str(folder)})
            await self._on(self._writer, lambda: self._disown(folder))

    async def tidy(self, jobs: set[str], folders: set[Path]) -> None:
        """Remove what belongs to none of these, and count the rest."""
        self._recent.clear()
        await self._on(self._writer, lambda: self._tidy(jobs, folders))

    async def close(self) -> None:
        """End after what is under way."""
        await asyncio.get_running_loop().run_in_executor(None, self.release)

    def release(self) -> None:
        """Let others use the folder, after what is under way; blocks for as long as that takes."""
        self._remover.shutdown()
        self._writer.shutdown()
        self._reader.shutdown()
        os.close(self._lock)

    async def _on(self, worker: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(worker, work)

    def _locate(self, job: str) -> Path:
        if _ID.fullmatch(job) is None:
            raise ValueError(f"job {job!a}")
        return self._folder / job

    def _forget(self, job: str) -> Path | None:
        """Return the folder of a job's output, None where it never said anything."""
        recent = self._recent.pop(job, None)
        is_silent = recent is not None and not any(recent.sizes.values()) and not recent.error
        return None if is_silent else self._locate(job)

    def _write(self, output: JobOutput, pieces: Sequence[tuple[int, bytes]]) -> None:
        for stream, data in pieces:
            before = sum(output.sizes.values())
            room = min(self._most_job_bytes - before, self.most_bytes - self.used_bytes)
            if output.is_cut or room <= 0 or not self.has_room():
                output.is_cut = True
                return
            try:
                output.append(stream, data[:room])
            except OSError as exc:
                output.error = f"output cannot be kept: {exc.strerror}"
            output.is_cut = bool(output.error) or len(data) > room
            self._count(sum(output.sizes.values()) - before)

    def _remove(self, folders: Iterable[Path]) -> None:
        for folder in folders:
            # What cannot be removed stays counted, and the next start tries again.
            with suppress(OSError):
                for name in os.listdir(folder):
                    size = _measure(folder / name)
                    os.unlink(folder / name)
                    self._count(-size)
                os.rmdir(folder)

    def _make_folder(self) -> Path:
        folder = self._folder / UPLOADS / secrets.token_hex(16)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700)
        return folder

    def _tidy(self, jobs: set[str], folders: set[Path]) -> None:
        uploads = self._folder / UPLOADS
        there = [*self._folder.iterdir(), *(uploads.iterdir() if uploads.exists() else ())]
        for path in there:
            if _ID.fullmatch(path.name) and path.name not in jobs and path not in folders:
                remove_tree(path)
        for folder in folders:
            self._adopted[folder] = measure_tree(folder)
        self.used_bytes = measure_tree(self._folder)

    def _adopt(self, folder: Path) -> None:
        size = measure_tree(folder)
        if self.used_bytes + size > self.most_bytes:
            raise OSError(errno.ENOSPC, f"spool_bytes: {self.most_bytes}, and uploads of {size} bytes are too many")
        self._adopted[folder] = size
        self._count(size)

    def _disown(self, folder: Path) -> None:
        self._count(-self._adopted.pop(folder, 0))

    def _count(self, size: int) -> None:
        self.used_bytes += size


def _lock(folder: Path) -> int:
    """Return a descriptor that keeps every other daemon out of a folder, which is made if it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise StateError(f"{folder}: {exc.strerror}; name a folder that the daemon may write to") from exc
    fault = find_fault(os.fstat(descriptor))
    if not fault and (above := find_fault(folder.parent.stat())):
        fault = f"its folder: {above}"
    if not fault and (folder / UPLOADS).is_symlink():
        # What is in there is removed at every start.
        fault = f"{UPLOADS}: a link to elsewhere; remove it"
    if fault:
        os.close(descriptor)
        raise StateError(f"{folder}: {fault}")
    return keep_others_out(descriptor, str(folder), "state_dir")


def _read(path: Path, offset: int, limit: int) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return b""
    try:
        return os.pread(descriptor, limit, offset)
    finally:
        os.close(descriptor)


def _measure(path: Path) -> int:
    try:
        return path.lstat().st_size
    except FileNotFoundError:
        return 0
