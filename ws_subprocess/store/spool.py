"""Output of jobs in files, one folder each, and the uploads of those to come.

Laws: all calls wait for the disk on threads of their own; never more than `most_bytes` is kept in all, nor
`most_job_bytes` of one job, nor anything when less than a twentieth of the disk is left; what cannot be kept is dropped
and said to be. No name from outside becomes part of a path.
"""

import asyncio
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ws_subprocess.model import STDERR, STDOUT
from ws_subprocess.store.locks import keep_others_out
from ws_subprocess.store.used_tokens import StateError

T = TypeVar("T")
FILES = {STDOUT: "stdout", STDERR: "stderr"}
UPLOADS = "uploads"
_ID = re.compile(r"[0-9a-f]{32}")
# A disk that is full to the brim is of no use to anybody, and slow.
_LEAST_FREE_SHARE = 20


class JobOutput:
    """What a job has said: how much is kept of each stream, and its checksums. Written by `Spool` alone.

    Attributes:
        sizes: Bytes kept, by stream.
        is_cut: There was more than could be kept.
        error: Why, where it was not for its size: "" otherwise.
    """

    __slots__ = ("_descriptors", "_folder", "_hashes", "error", "is_cut", "sizes")

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptors: dict[int, int] = {}
        self._hashes = {stream: hashlib.sha256() for stream in FILES}
        self.sizes = dict.fromkeys(FILES, 0)
        self.is_cut = False
        self.error = ""

    def get_sha256(self, stream: int) -> str:
        """Return the checksum of what is kept, in hex."""
        return self._hashes[stream].hexdigest()

    def append(self, stream: int, data: bytes) -> None:
        """Write to the stream's file; what is written counts, also when the rest cannot be."""
        view = memoryview(data)
        while view:
            count = os.write(self._open(stream), view)
            self._hashes[stream].update(view[:count])
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
        self._lock = _lock(folder)
        # What is counted is counted on one thread; reading needs no turn.
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spool-writer")
        self._reader = ThreadPoolExecutor(max_workers=2, thread_name_prefix="spool-reader")

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
        return JobOutput(self._locate(job))

    async def write(self, output: JobOutput, pieces: Sequence[tuple[int, bytes]]) -> None:
        """Keep what may be kept of these (stream, bytes)."""
        await self._on(self._writer, lambda: self._write(output, pieces))

    async def read(self, job: str, stream: int, offset: int, limit: int) -> bytes:
        """Return kept output; b"" where there is none, or no such job."""
        if _ID.fullmatch(job) is None:
            return b""
        return await self._on(self._reader, lambda: _read(self._locate(job) / FILES[stream], offset, limit))

    async def measure(self, job: str) -> dict[int, int]:
        """Return how many bytes of each stream are on the disk."""
        folder = self._locate(job)
        return await self._on(self._reader, lambda: {stream: _measure(folder / name) for stream, name in FILES.items()})

    async def remove(self, jobs: Iterable[str]) -> None:
        """Forget the output of jobs."""
        folders = [self._locate(job) for job in jobs]
        await self._on(self._writer, lambda: self._remove(folders))

    async def make_folder(self) -> Path:
        """Return a new empty folder for uploads."""
        return await self._on(self._writer, self._make_folder)

    async def adopt_folder(self, folder: Path) -> None:
        """Count what is in a folder of uploads."""
        await self._on(self._writer, lambda: self._adopt(folder))

    def disown(self, folder: Path) -> None:
        """Count no longer what was adopted and belongs to nobody."""
        self._writer.submit(self._disown, folder)

    async def remove_folder(self, folder: Path) -> None:
        """Remove uploads, and count them no longer. A folder that is not one of ours is left alone."""

        def remove() -> None:
            shutil.rmtree(folder, ignore_errors=True)
            self._disown(folder)

        if folder.parent == self._folder / UPLOADS:
            await self._on(self._writer, remove)

    async def tidy(self, jobs: set[str], folders: set[Path]) -> None:
        """Remove what belongs to none of these, and count the rest."""
        await self._on(self._writer, lambda: self._tidy(jobs, folders))

    async def close(self) -> None:
        """End after what is under way."""
        await asyncio.get_running_loop().run_in_executor(None, self.release)

    def release(self) -> None:
        """Let others use the folder, after what is under way; blocks for as long as that takes."""
        self._writer.shutdown()
        self._reader.shutdown()
        os.close(self._lock)

    async def _on(self, worker: ThreadPoolExecutor, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(worker, work)

    def _locate(self, job: str) -> Path:
        if _ID.fullmatch(job) is None:
            raise ValueError(f"job {job!a}")
        return self._folder / job

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
            size = _measure_tree(folder)
            shutil.rmtree(folder, ignore_errors=True)
            self._count(_measure_tree(folder) - size)

    def _make_folder(self) -> Path:
        folder = self._folder / UPLOADS / secrets.token_hex(16)
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        folder.mkdir(mode=0o700)
        return folder

    def _tidy(self, jobs: set[str], folders: set[Path]) -> None:
        uploads = self._folder / UPLOADS
        there = [path for path in self._folder.iterdir() if _ID.fullmatch(path.name)]
        there += list(uploads.iterdir()) if uploads.exists() else []
        for path in there:
            if path.name not in jobs and path not in folders:
                shutil.rmtree(path, ignore_errors=True)
        for folder in folders:
            self._adopted[folder] = _measure_tree(folder)
        self.used_bytes = _measure_tree(self._folder)

    def _adopt(self, folder: Path) -> None:
        size = self._adopted[folder] = _measure_tree(folder)
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


def _measure_tree(folder: Path) -> int:
    return sum(_measure(Path(parent) / name) for parent, _, names in os.walk(folder) for name in names)
