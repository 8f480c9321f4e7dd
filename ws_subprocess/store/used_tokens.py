"""The tokens that count once and have been used, in a file that outlives the daemon.

Laws: a token that `claim` said yes to is on disk before it does, so that it is used up whatever happens next, be it a
power cut; of several claims, also by several daemons with one folder, one is the first; a file that cannot be read is
never replaced or mended here, because that would make used tokens good again. What is kept of a token is a hash.
"""

import asyncio
import contextlib
import fcntl
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FILE_NAME = "used-tokens.sqlite3"
SCHEMA_VERSION = 1
# How long a claim, or a start, waits for another daemon that is just writing.
BUSY_TIMEOUT_S = 5.0
CLAIM_TIMEOUT_S = 10.0
PURGE_INTERVAL_S = 60.0
PURGE_MAX = 500
# For a clock that is set back: what was forgotten too early could be used again.
KEPT_AFTER_EXPIRY_S = 3600.0

_SCHEMA = f"""
CREATE TABLE used (key BLOB PRIMARY KEY, expires_at REAL NOT NULL) WITHOUT ROWID;
CREATE INDEX used_by_expiry ON used (expires_at);
PRAGMA user_version = {SCHEMA_VERSION};
"""


class StateError(OSError):
    """The folder or its file cannot be used; says what to do."""


class UsedTokens:
    """The used tokens of one folder, which is made if it is missing. Opens the file at once.

    Args:
        folder: For the daemon alone; on a disk of this machine, because SQLite's locks are not kept over a network.
        clock: Unix time.
        claim_timeout_s: How long a claim may take, those before it included: who waits longer has left.

    Raises:
        StateError: It cannot be used.
    """

    def __init__(
        self, folder: str, clock: Callable[[], float] = time.time, claim_timeout_s: float = CLAIM_TIMEOUT_S
    ) -> None:
        self._clock = clock
        self._claim_timeout_s = claim_timeout_s
        self._purged_at = -PURGE_INTERVAL_S
        self._database = _open(Path(folder))
        # SQLite's calls wait for the disk: one thread does, and no two claims of ours get into each other's way.
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="used-tokens")
        self._is_closed = False

    async def claim(self, key: bytes, expires_at: float) -> bool:
        """Use `key` up, for good before this returns; False when it was already.

        Args:
            expires_at: Unix time from when on nobody takes the token any more: it is forgotten some time later.

        Raises:
            OSError: It cannot be written down, or not in time: then nobody knows whether it still will be.
        """
        if self._is_closed:
            raise StateError("closed")
        try:
            async with asyncio.timeout(self._claim_timeout_s):
                return await asyncio.get_running_loop().run_in_executor(self._worker, self._claim, key, expires_at)
        except TimeoutError as exc:
            raise StateError(f"not written within {self._claim_timeout_s:g} s; see `lslocks`, and the disk") from exc

    async def close(self) -> None:
        """Close the file after the claims that are under way."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._worker, self._database.close)
        self._worker.shutdown()

    def _claim(self, key: bytes, expires_at: float) -> bool:
        try:
            self._purge()
            added = self._database.execute("INSERT OR IGNORE INTO used VALUES (?, ?)", (key, expires_at))
        except sqlite3.Error as exc:
            raise StateError(str(exc)) from exc
        return added.rowcount == 1

    def _purge(self) -> None:
        now = self._clock()
        # A clock that was set back must not put it off.
        if 0 <= now - self._purged_at < PURGE_INTERVAL_S:
            return
        expired = "SELECT key FROM used WHERE expires_at < ? LIMIT ?"
        done = self._database.execute(
            f"DELETE FROM used WHERE key IN ({expired})",  # noqa: S608 - a constant
            (now - KEPT_AFTER_EXPIRY_S, PURGE_MAX),
        )
        # No claim should wait for a long purge: more of it at the next one.
        self._purged_at = now if done.rowcount < PURGE_MAX else -PURGE_INTERVAL_S


def count_used_tokens(folder: Path) -> int | None:
    """Return how many tokens are remembered in `folder`, None where it has no file yet; changes nothing.

    Raises:
        StateError: The file cannot be used.
    """
    path = folder / FILE_NAME
    # Not by the path itself, which raises where we may not look.
    if not os.path.exists(path):
        return None
    # With no log beside it nobody has it open; otherwise SQLite would make one, and leave it there.
    how = "mode=ro" if os.path.exists(f"{path}-wal") else "immutable=1"
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True)) as database:
            version = _check(database, path)
            (count,) = database.execute("SELECT count(*) FROM used").fetchone() if version else (0,)
    except sqlite3.Error as exc:
        raise StateError(f"{path}: {_explain(exc)}") from exc
    return int(count)


def find_fault(folder: os.stat_result) -> str:
    """Return who besides us could make used tokens good again, and the way out; "" for nobody."""
    if folder.st_mode & stat.S_IWOTH:
        return "anyone may write to it; run `chmod o-w` on it"
    if folder.st_uid not in (0, os.geteuid()):
        return f"belongs to uid {folder.st_uid}; run `chown {os.geteuid()}` on it, or name another folder"
    return ""


def _open(folder: Path) -> sqlite3.Connection:
    path = folder / FILE_NAME
    try:
        with _lock(folder):
            # Before SQLite does, which would give it, and its neighbours after it, the umask's mode.
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
            return _prepare(path)
    except sqlite3.Error as exc:
        raise StateError(f"{path}: {_explain(exc)}") from exc
    except StateError:
        raise
    except OSError as exc:
        raise StateError(f"{exc.filename or path}: {exc.strerror}; name a folder that the daemon may write to") from exc


def _explain(exc: sqlite3.Error) -> str:
    # The low byte is the kind: sqlite.org/rescode.html. Without one the error is our own, of `_check`.
    match getattr(exc, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF:
        case sqlite3.SQLITE_BUSY:
            return "another process holds it; let it end (`lslocks` names it), then start again"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return f"{exc}; move it away (tokens used before could be used again) or restore it"
    return f"{exc}; see that the daemon can write there, and that there is room"


@contextlib.contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold the folder, which is made if it is missing: two daemons that start at once would prepare the file twice."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if fault := find_fault(os.fstat(descriptor)):
            raise StateError(f"{folder}: {fault}")
        deadline_s = time.monotonic() + BUSY_TIMEOUT_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline_s:
                raise StateError(f"{folder}: another process holds its lock; see `lslocks`")
            time.sleep(0.01)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _prepare(path: Path) -> sqlite3.Connection:
    # Made here and used by the worker; never by both at once.
    database = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        if _check(database, path) == 0:
            database.executescript(f"BEGIN IMMEDIATE; {_SCHEMA} COMMIT;")
        # Fails where it cannot be written to.
        database.executescript("BEGIN IMMEDIATE; ROLLBACK;")
        database.execute("PRAGMA journal_mode = WAL")
        # NORMAL would lose the latest claims in a power cut.
        database.execute("PRAGMA synchronous = FULL")
    except BaseException:
        database.close()
        raise
    return database


def _check(database: sqlite3.Connection, path: Path) -> int:
    """Return the version of a file that is sound, 0 for an empty one."""
    (version,) = database.execute("PRAGMA user_version").fetchone()
    (tables,) = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if version > SCHEMA_VERSION:
        raise StateError(f"{path}: of a newer ws-subprocess (version {version}); run that one, or name another folder")
    if version == 0 and tables:
        raise StateError(f"{path}: a database of another program; name another folder")
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    if verdict != "ok":
        raise sqlite3.DatabaseError(verdict)
    return int(version)
