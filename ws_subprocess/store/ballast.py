"""Room on the disk that is kept back: where none is left, SQLite cannot even delete."""

import contextlib
import os
from pathlib import Path

FILE_NAME = "jobs.ballast"
# Several times what a transaction that deletes a few hundred rows adds to the write-ahead log.
BALLAST_BYTES = 2 * 1024 * 1024
# It is only taken where so many times more is free.
_PLENTY = 4


class Ballast:
    """A file that is only there to be removed.

    Attributes:
        is_there: Whether room is kept back now.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE_NAME
        self.is_there = self._path.exists()

    def take(self) -> None:
        """Keep room back, if there is plenty."""
        if self.is_there or self._measure_free() < _PLENTY * BALLAST_BYTES:
            return
        try:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            try:
                os.posix_fallocate(descriptor, 0, BALLAST_BYTES)
            finally:
                os.close(descriptor)
            self.is_there = True
        except OSError:  # Somebody else was faster: there will be another time.
            self.drop()

    def drop(self) -> None:
        """Give the room free; where that cannot be, whoever needs it finds out."""
        with contextlib.suppress(OSError):
            self._path.unlink()
        self.is_there = False

    def _measure_free(self) -> int:
        try:
            status = os.statvfs(self._path.parent)
        except OSError:
            return 0
        return status.f_bavail * status.f_frsize
