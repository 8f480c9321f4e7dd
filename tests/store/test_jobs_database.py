"""The jobs' database: opened, refused, full, and written to by many at once."""

import asyncio
import os
import sqlite3
import stat
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import pytest
from disks import fill, small_disk
from sqlalchemy import create_engine, inspect
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from ws_subprocess.store.ballast import BALLAST_BYTES
from ws_subprocess.store.ballast import FILE_NAME as BALLAST
from ws_subprocess.store.database import FILE_NAME
from ws_subprocess.store.errors import StoreError, TakenError
from ws_subprocess.store.jobs import JobStore, select_oldest_ended, select_page
from ws_subprocess.store.jobs_table import jobs, metadata
from ws_subprocess.store.used_tokens import StateError


def make_row(number: int, **values: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("name", "key", "principal", "command", "args", "facts", "plan"), "x")
    row = {"id": f"{number:032x}", "door": "d", "token_hash": b"h", "state": "pending", "retention": "once"}
    return {**texts, **row, "key": f"k{number}", "created_at": 1.0, "ttl_s": 1.0, "is_cut": False, **values}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[JobStore]:
    store = JobStore("", folder)
    try:
        yield store
    finally:
        await store.close()


def is_whole(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        return bool(database.execute("PRAGMA integrity_check").fetchone()[0] == "ok")


def read_modes(folder: Path) -> dict[str, int]:
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A folder on a small disk."""
    with small_disk(tmp_path / "disk") as folder:
        yield folder


async def test_a_row_is_there_after_the_store_was_opened_again(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.insert(make_row(1, facts='{"a": 1}'))

    async with opened(tmp_path) as store:
        row = await store.get(f"{1:032x}")

        assert row is not None
        assert (row["number"], row["key"], row["facts"], row["is_cut"]) == (1, "k1", '{"a": 1}', False)


async def test_what_was_written_survives_a_power_cut(tmp_path: Path) -> None:
    """As far as SQLite promises it: at FULL (2) a commit has reached the disk, sqlite.org/pragma.html."""
    async with opened(tmp_path) as store:
        level = await store._database.run(lambda connection: connection.exec_driver_sql("PRAGMA synchronous").scalar())

    assert level == 2


async def test_its_files_are_for_the_daemon_alone(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.insert(make_row(1))

        modes = read_modes(tmp_path)

    assert modes.keys() >= {FILE_NAME, f"{FILE_NAME}-wal", BALLAST}
    assert set(modes.values()) == {0o600}


async def test_a_taken_key_is_refused_and_takes_nobody_with_it(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        rows = [make_row(number, key=f"k{number // 2}") for number in range(40)]

        outcomes = await asyncio.gather(*(store.insert(row) for row in rows), return_exceptions=True)

        assert [type(outcome) for outcome in outcomes] == [type(None), TakenError] * 20
        assert len(await store.list_ids()) == 20


async def test_writes_that_come_at_once_share_a_transaction(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.insert(make_row(0))
        before = (tmp_path / f"{FILE_NAME}-wal").stat().st_size

        await asyncio.gather(*(store.insert(make_row(number)) for number in range(1, 101)))

        # Each transaction writes at least four pages: the table's and each index' last one.
        assert (tmp_path / f"{FILE_NAME}-wal").stat().st_size - before < 50 * 4 * 4096


async def test_a_statement_that_fails_does_not_say_its_values(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        with pytest.raises(StoreError) as error:
            await store.update("x", {"state": ["s3cret"]})

    assert "s3cret" not in str(error.value)


@pytest.mark.parametrize("content", [b"this is no database" * 100, b"SQLite format 3\0" + b"\xff" * 4080])
def test_a_broken_database_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(StateError, match="move it away"):
        JobStore("", tmp_path)

    assert (tmp_path / FILE_NAME).read_bytes() == content


def test_a_database_of_another_program_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute("CREATE TABLE jobs (something TEXT)")

    with pytest.raises(StateError, match="another program"):
        JobStore("", tmp_path)


async def test_a_database_of_a_newer_daemon_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.insert(make_row(1))
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()

    with pytest.raises(StateError, match=r"newer ws-subprocess \(version 9999\)"):
        JobStore("", tmp_path)

    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        assert database.execute("SELECT count(*) FROM jobs").fetchone() == (1,)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("no url", "no SQLAlchemy URL"),
        ("sqlite://", "name a file"),
        ("sqlite:///:memory:", "name a file"),
        ("nonsense://host/name", "install the driver"),
        ("sqlite:////no/such/folder/jobs", "name a folder"),
    ],
)
def test_a_url_that_leads_nowhere_is_explained(tmp_path: Path, url: str, words: str) -> None:
    with pytest.raises(StateError, match=words):
        JobStore(url, tmp_path)


def test_a_password_in_the_url_is_not_told(tmp_path: Path) -> None:
    with pytest.raises(StateError) as error:
        JobStore("nonsense://user:s3cret@host/name", tmp_path)

    assert "s3cret" not in str(error.value)


async def test_migrations_make_the_tables_that_the_statements_expect(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    declared = create_engine(f"sqlite:///{tmp_path}/declared")
    metadata.create_all(declared)
    migrated = create_engine(f"sqlite:///{tmp_path}/{FILE_NAME}")

    tables = [inspect(engine) for engine in (migrated, declared)]

    def describe(found: Any) -> tuple[list[dict[str, str]], list[Any]]:
        columns = [{key: str(value) for key, value in column.items()} for column in found.get_columns("jobs")]
        return columns, sorted(found.get_indexes("jobs"), key=lambda index: index["name"])

    assert describe(tables[0]) == describe(tables[1])
    migrated.dispose()
    declared.dispose()


def test_statements_are_for_postgresql_too() -> None:
    dialect = postgresql.dialect()

    page = str(select_page("d", "n", b"h", "p", "after", 10).compile(dialect=dialect))
    oldest = str(select_oldest_ended(10, True).compile(dialect=dialect))
    table = str(CreateTable(jobs).compile(dialect=dialect))

    assert "jobs.number > (SELECT jobs.number" in page
    assert "jobs.ended_at IS NOT NULL" in oldest
    assert "number BIGSERIAL" in table


async def test_a_full_disk_refuses_what_grows_and_does_what_frees(disk: Path) -> None:
    async with opened(disk) as store:
        await asyncio.gather(*(store.insert(make_row(number, plan="x" * 1000)) for number in range(500)))
        filler = fill(disk)

        with pytest.raises(StoreError) as refusal:
            await asyncio.gather(*(store.insert(make_row(number, plan="x" * 9000)) for number in range(500, 600)))
        deleted = await store.delete([f"{number:032x}" for number in range(400)])
        filler.unlink()
        await store.insert(make_row(700))

        assert refusal.value.is_full
        assert deleted == 400
        assert len(await store.list_ids()) >= 101
        assert (disk / BALLAST).stat().st_size == BALLAST_BYTES
    assert is_whole(disk)


async def test_without_room_kept_back_a_full_disk_could_not_be_cleared(disk: Path) -> None:
    async with opened(disk) as store:
        await asyncio.gather(*(store.insert(make_row(number, plan="x" * 1000)) for number in range(500)))
        os.truncate(disk / BALLAST, 0)
        fill(disk)

        with pytest.raises(StoreError) as refusal:
            await store.delete([f"{number:032x}" for number in range(400)])

        assert refusal.value.is_full
    (disk / "filler").unlink()
    assert is_whole(disk)


async def test_who_waits_when_the_store_is_closed_is_told(tmp_path: Path) -> None:
    store = JobStore("", tmp_path)
    calls = [asyncio.ensure_future(store.insert(make_row(number))) for number in range(400)]
    await asyncio.sleep(0)

    await store.close()
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert all(outcome is None or isinstance(outcome, StoreError) for outcome in outcomes)
    with pytest.raises(StoreError):
        await store.get("x")
