"""The rows of all jobs that are not forgotten: their life in single statements, written down in groups."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, bindparam, delete, func, insert, or_, select, update

from ws_subprocess.store.database import Database
from ws_subprocess.store.jobs_table import jobs

Row = Mapping[str, Any]
LIVE_STATES = ("pending", "working")

# Made once: to put a statement together costs more than to execute it. An update sets the columns that it is given.
_INSERT = insert(jobs)
_UPDATE = update(jobs).where(jobs.c.id == bindparam("job_id"))
_DELETE = delete(jobs).where(jobs.c.id.in_(bindparam("ids", expanding=True)))
_GET = select(jobs).where(jobs.c.id == bindparam("job_id"))
_FIND = select(jobs).where(
    jobs.c.door == bindparam("door"), jobs.c.name == bindparam("name"), jobs.c.key == bindparam("key")
)


class JobStore:
    """Jobs in a database. Every method raises `StoreError` when it cannot be used now; see `Database`.

    Args:
        url: SQLAlchemy URL; "" for SQLite in `folder`.

    Raises:
        StateError: The database cannot be used.
    """

    def __init__(self, url: str, folder: Path) -> None:
        self._database = Database(url, folder)

    async def insert(self, values: Row) -> None:
        """Write a new job down. Raises `TakenError` when its door, name and key are another's."""
        await self._database.run(lambda connection: connection.execute(_INSERT, dict(values)) and None)

    async def update(self, job: str, values: Row) -> None:
        """Write down what has changed of a job."""

        def work(connection: Connection) -> None:
            connection.execute(_UPDATE, {"job_id": job, **values})

        await self._database.run(work, frees_space=True)

    async def get(self, job: str) -> Row | None:
        """Return one job."""
        return await self._read_one(_GET, {"job_id": job})

    async def find(self, door: str, name: str, key: str) -> Row | None:
        """Return the job that has this key."""
        return await self._read_one(_FIND, {"door": door, "name": name, "key": key})

    async def list(
        self, door: str, name: str, token_hash: bytes, principal: str, after: str, limit: int
    ) -> Sequence[Row]:
        """Return jobs of one owner in the order they were accepted, those after the job `after`, at most `limit`."""
        return await self._read(select_page(door, name, token_hash, principal, after, limit))

    async def list_live(self) -> Sequence[Row]:
        """Return the jobs that have not ended, in the order they were accepted."""
        return await self._read(select(jobs).where(jobs.c.state.in_(LIVE_STATES)).order_by(jobs.c.number))

    async def list_ids(self) -> set[str]:
        """Return the ids of all jobs."""

        def work(connection: Connection) -> set[str]:
            return set(connection.execute(select(jobs.c.id)).scalars())

        return await self._database.run(work)

    async def find_expired(self, now: float, limit: int) -> Sequence[str]:
        """Return jobs whose time is over."""
        return await self._read_ids(select(jobs.c.id).where(jobs.c.expires_at < now).limit(limit))

    async def find_oldest_ended(self, limit: int, has_output: bool = False) -> Sequence[str]:
        """Return the jobs that ended first, those with output if `has_output`."""
        return await self._read_ids(select_oldest_ended(limit, has_output))

    async def count_ended(self) -> int:
        """Return how many results there are."""

        def work(connection: Connection) -> int:
            return connection.execute(select(func.count(jobs.c.ended_at))).scalar_one()

        return await self._database.run(work)

    async def delete(self, ids: Sequence[str]) -> int:
        """Forget jobs; return how many there were."""

        def work(connection: Connection) -> int:
            return connection.execute(_DELETE, {"ids": list(ids)}).rowcount

        return await self._database.run(work, frees_space=True)

    async def close(self) -> None:
        """Close the database after the calls that are under way."""
        await self._database.close()

    async def _read(self, statement: Select[Any], values: Row | None = None) -> Sequence[Row]:
        def work(connection: Connection) -> Sequence[Row]:
            return list(map(dict, connection.execute(statement, values).mappings()))

        return await self._database.run(work)

    async def _read_one(self, statement: Select[Any], values: Row) -> Row | None:
        rows = await self._read(statement, values)
        return rows[0] if rows else None

    async def _read_ids(self, statement: Select[Any]) -> Sequence[str]:
        return await self._database.run(lambda connection: connection.execute(statement).scalars().all())


def select_page(door: str, name: str, token_hash: bytes, principal: str, after: str, limit: int) -> Select[Any]:
    """Return the statement of `JobStore.list`."""
    owned: ColumnElement[bool] = jobs.c.token_hash == token_hash
    if principal:
        owned = or_(owned, jobs.c.principal == principal)
    wanted = and_(jobs.c.door == door, jobs.c.name == name, owned)
    if after:
        number = select(jobs.c.number).where(jobs.c.id == after).scalar_subquery()
        wanted = and_(wanted, jobs.c.number > number)
    return select(jobs).where(wanted).order_by(jobs.c.number).limit(limit)


def select_oldest_ended(limit: int, has_output: bool) -> Select[Any]:
    """Return the statement of `JobStore.find_oldest_ended`."""
    wanted: ColumnElement[bool] = jobs.c.ended_at.is_not(None)
    if has_output:
        wanted = and_(wanted, jobs.c.stdout_bytes + jobs.c.stderr_bytes > 0)
    return select(jobs.c.id).where(wanted).order_by(jobs.c.ended_at).limit(limit)
