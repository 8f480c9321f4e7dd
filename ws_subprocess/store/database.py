"""One database on one worker thread: opened and migrated at once, written to in groups.

Laws: who waits for a write has it on the disk when the wait is over; those that come while the disk is busy share the
next transaction; one that fails takes none of its group with it. A database that is broken, of a newer daemon or of
another program is refused and left as it is.
"""

import asyncio
import os
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError, NoSuchModuleError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from ws_subprocess.store.ballast import Ballast
from ws_subprocess.store.errors import StoreError, TakenError
from ws_subprocess.store.locks import keep_others_out
from ws_subprocess.store.used_tokens import BUSY_TIMEOUT_S, StateError, find_fault

T = TypeVar("T")
FILE_NAME = "jobs.sqlite3"
_GROUP_MAX = 256
# "ws-subpr" as a number: advisory locks of PostgreSQL have no names.
_ADVISORY_LOCK = 0x77732D7375627072


@dataclass(frozen=True, slots=True)
class _Call:
    """Work that somebody waits for; `frees_space`: a full disk must not keep it from being done."""

    work: Callable[[Connection], Any]
    done: asyncio.Future[Any]
    frees_space: bool


class Database:
    """A database, whose calls all happen on one thread.

    Args:
        url: SQLAlchemy URL; "" for SQLite in `folder`.
        folder: For the daemon alone; made if it is missing.

    Raises:
        StateError: It cannot be used; says what to do.
    """

    def __init__(self, url: str, folder: Path) -> None:
        parsed = _parse_url(url, folder)
        is_sqlite = parsed.get_backend_name() == "sqlite"
        self._name = (is_sqlite and parsed.database) or parsed.render_as_string(hide_password=True)
        self._ballast = Ballast(Path(parsed.database).parent) if is_sqlite and parsed.database else None
        self._lock = _lock(parsed.database) if is_sqlite and parsed.database else None
        try:
            self._engine = _open(parsed, self._name)
        except BaseException:
            self._unlock()
            raise
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="jobs-database")
        self._waiting: list[_Call] = []
        self._is_busy = False
        self._is_closed = False
        if self._ballast is not None:
            self._ballast.take()

    async def run(self, work: Callable[[Connection], T], *, frees_space: bool = False) -> T:
        """Return what `work` returns, in a transaction that is on the disk by then.

        Args:
            work: May be called again when the transaction of its group failed.
            frees_space: It may have the room that is kept back, where the disk is full.

        Raises:
            TakenError: A unique value is taken.
            StoreError: The database cannot be used now.
        """
        if self._is_closed:
            raise StoreError("closed")
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._waiting.append(_Call(work, done, frees_space))
        if not self._is_busy:
            self._begin_group()
        return await done

    async def close(self) -> None:
        """Close it after the calls that are under way."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.get_running_loop().run_in_executor(self._worker, self._engine.dispose)
        self._worker.shutdown()
        self._unlock()

    def _unlock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)

    def _begin_group(self) -> None:
        loop = asyncio.get_running_loop()
        group, self._waiting = self._waiting[:_GROUP_MAX], self._waiting[_GROUP_MAX:]
        self._is_busy = True

        def execute() -> None:
            outcomes = self._execute(group)
            loop.call_soon_threadsafe(self._end_group, group, outcomes)

        self._worker.submit(execute)

    def _end_group(self, group: list[_Call], outcomes: list[Any]) -> None:
        self._is_busy = False
        for call, outcome in zip(group, outcomes, strict=True):
            if call.done.done():  # Whoever waited was cancelled.
                continue
            if isinstance(outcome, Exception):
                call.done.set_exception(outcome)
            else:
                call.done.set_result(outcome)
        if self._is_closed:
            self._refuse_waiting()
        elif self._waiting:
            self._begin_group()

    def _refuse_waiting(self) -> None:
        for call in self._waiting:
            if not call.done.done():
                call.done.set_exception(StoreError("closed"))
        self._waiting.clear()

    def _execute(self, group: list[_Call]) -> list[Any]:
        """Return what each call gave: a result, or the error for who waits."""
        try:
            with self._engine.begin() as connection:
                outcomes = [call.work(connection) for call in group]
        except Exception as exc:  # noqa: BLE001 - handed to who waits
            if len(group) == 1:
                return [self._try_with_ballast(group[0], exc)]
            return [outcome for call in group for outcome in self._execute([call])]
        if self._ballast is not None and not self._ballast.is_there:
            self._ballast.take()
        return outcomes

    def _try_with_ballast(self, call: _Call, exc: Exception) -> Any:
        """Return what the call gives once there is room for it, else the error."""
        error = self._translate(exc)
        if self._ballast is None or not (isinstance(error, StoreError) and error.is_full and call.frees_space):
            return error
        self._ballast.drop()
        try:
            with self._engine.begin() as connection:
                return call.work(connection)
        except Exception as again:  # noqa: BLE001 - handed to who waits
            return self._translate(again)

    def _translate(self, exc: Exception) -> Exception:
        if isinstance(exc, IntegrityError):
            return TakenError()
        if isinstance(exc, StateError):
            # After the connection was lost, another daemon was faster.
            return StoreError(str(exc))
        if isinstance(exc, SQLAlchemyError):
            # Only the driver's words: the statement's values are not for the log.
            detail = str(exc.orig) if isinstance(exc, DBAPIError) else str(exc)
            return StoreError(f"{self._name}: {detail}", _is_full(exc))
        return exc


def _is_full(exc: Exception) -> bool:
    original = getattr(exc, "orig", None)
    if isinstance(original, sqlite3.Error):
        # SQLite may also call it an I/O error, when it is the shared memory's file that cannot grow.
        code = getattr(original, "sqlite_errorcode", 0)
        return code & 0xFF == sqlite3.SQLITE_FULL or code in (sqlite3.SQLITE_IOERR_WRITE, sqlite3.SQLITE_IOERR_SHMSIZE)
    return type(original).__name__ == "DiskFull"  # psycopg's name of SQLSTATE 53100.


def _parse_url(url: str, folder: Path) -> URL:
    try:
        parsed = make_url(url) if url else URL.create("sqlite", database=str(folder / FILE_NAME))
    except ArgumentError as exc:
        raise StateError("database_url: no SQLAlchemy URL; for example postgresql+psycopg://user@host/name") from exc
    if parsed.get_backend_name() == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise StateError(f"database_url: {url}: jobs would be forgotten with the daemon; name a file")
    return parsed


def _lock(path: str) -> int:
    """Return a descriptor of SQLite's file, which is made if it is missing, that keeps every other daemon out."""
    try:
        # Before SQLite does, which would give it, and its neighbours after it, the umask's mode.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as exc:
        raise StateError(f"{path}: {exc.strerror}; name a folder that the daemon may write to") from exc
    if fault := find_fault(os.fstat(descriptor)):
        # Who can write a row decides what runs at the next start.
        os.close(descriptor)
        raise StateError(f"{path}: {fault}")
    # SQLite's own locks are of another kind (fcntl(2)). They would go with any descriptor of the file that is closed:
    # this one is after SQLite's.
    return keep_others_out(descriptor, path, "database_url")


def _open(url: URL, name: str) -> Engine:
    try:
        # A file does not hang up.
        can_hang_up = url.get_backend_name() != "sqlite"
        engine = create_engine(url, poolclass=QueuePool, pool_size=1, max_overflow=0, pool_pre_ping=can_hang_up)
    except (NoSuchModuleError, ModuleNotFoundError) as exc:
        raise StateError(f"{name}: {exc}; install the driver in the daemon's environment") from exc
    if url.get_backend_name() == "sqlite":
        event.listen(engine, "connect", _set_up_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    elif url.get_backend_name() == "postgresql":
        event.listen(engine, "connect", lambda connection, _: _keep_others_out(connection, name))
    try:
        _migrate(engine, name)
    except BaseException as exc:
        engine.dispose()
        if isinstance(exc, SQLAlchemyError):
            raise StateError(f"{name}: {_explain(exc)}") from exc
        raise
    return engine


def _explain(exc: SQLAlchemyError) -> str:
    original = exc.orig if isinstance(exc, DBAPIError) else exc
    if isinstance(original, sqlite3.Error):
        match getattr(original, "sqlite_errorcode", 0) & 0xFF:
            case sqlite3.SQLITE_BUSY:
                return "another process holds it; let it end (`lslocks` names it), then start again"
            case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
                return f"{original}; move it away (the jobs in it are lost then) or restore it"
    return f"{original}; see that the daemon can reach and write to it, and that there is room"


def _set_up_sqlite(connection: Any, _: object) -> None:
    # Transactions are begun by `_begin_sqlite`: the driver would begin them late, and not for all statements.
    connection.isolation_level = None
    connection.execute(f"PRAGMA busy_timeout = {round(BUSY_TIMEOUT_S * 1000)}")
    connection.execute("PRAGMA journal_mode = WAL")
    # NORMAL would lose the latest jobs in a power cut.
    connection.execute("PRAGMA synchronous = FULL")


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN")


def _keep_others_out(connection: Any, name: str) -> None:
    """Lock a PostgreSQL database for as long as this connection, the only one we have, is open."""
    with closing(connection.cursor()) as cursor:
        cursor.execute(f"SELECT pg_try_advisory_lock({_ADVISORY_LOCK})")
        (is_ours,) = cursor.fetchone()
    connection.commit()
    if not is_ours:
        advice = "let it end (pg_locks has its `advisory` lock), or name another database_url"
        raise StateError(f"{name}: another daemon has its jobs there; {advice}")


def _migrate(engine: Engine, name: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    with engine.begin() as connection:
        _check(connection, ScriptDirectory.from_config(config), name)
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _check(connection: Connection, scripts: ScriptDirectory, name: str) -> None:
    """Refuse what is not a whole database of ours, this version's or older."""
    if connection.dialect.name == "sqlite":
        verdict = connection.execute(text("PRAGMA quick_check(1)")).scalar_one()
        if verdict != "ok":
            raise StateError(f"{name}: {verdict}; move it away (the jobs in it are lost then) or restore it")
    tables = inspect(connection).get_table_names()
    if "alembic_version" not in tables:
        if tables:
            raise StateError(f"{name}: a database of another program; name another one")
        return
    version = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    try:
        scripts.get_revision(version or "base")
    except CommandError as exc:
        advice = "run that one, or name another database"
        raise StateError(f"{name}: of a newer ws-subprocess (version {version}); {advice}") from exc
