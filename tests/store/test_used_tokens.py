"""Used tokens: once means once, on a real disk, with several daemons, and after a sudden death."""

import asyncio
import fcntl
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import pytest

from ws_subprocess.store.used_tokens import (
    FILE_NAME,
    KEPT_AFTER_EXPIRY_S,
    PURGE_INTERVAL_S,
    PURGE_MAX,
    SCHEMA_VERSION,
    StateError,
    UsedTokens,
    count_used_tokens,
)

NOW = 1_800_000_000.0
DEADLINE_S = 20

# Claims each key of its command line, some at a time, and writes one digit for each: 1 where it was the first.
CLAIMER = """
import asyncio, sys
from ws_subprocess.store.used_tokens import UsedTokens

async def main():
    tokens = UsedTokens(sys.argv[1])
    print("ready", flush=True)
    sys.stdin.readline()
    claims = await asyncio.gather(*(tokens.claim(key.encode(), 4e9) for key in sys.argv[2:]))
    print("".join(str(int(claim)) for claim in claims), flush=True)
    await tokens.close()

asyncio.run(main())
"""
# Is killed the moment it has its yes.
VICTIM = """
import asyncio, os, signal, sys
from ws_subprocess.store.used_tokens import UsedTokens

async def main():
    if await UsedTokens(sys.argv[1]).claim(b"key", 4e9):
        os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@asynccontextmanager
async def opened(folder: Path, clock: Callable[[], float] = lambda: NOW) -> AsyncIterator[UsedTokens]:
    tokens = UsedTokens(str(folder), clock)
    try:
        yield tokens
    finally:
        await tokens.close()


def count_rows(folder: Path) -> int:
    with closing(sqlite3.connect(folder / FILE_NAME)) as database:
        count: int = database.execute("SELECT count(*) FROM used").fetchone()[0]
        return count


@contextmanager
def files_at_most(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes, as on a disk that is full."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def run_to_the_end(program: str, *args: str) -> int:
    """Run a Python program and return its status."""
    return subprocess.run([sys.executable, "-c", program, *args], timeout=DEADLINE_S, check=False).returncode


async def test_a_token_counts_once(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        assert await tokens.claim(b"a", NOW + 60)
        assert not await tokens.claim(b"a", NOW + 60)
        assert await tokens.claim(b"b", NOW + 60)


async def test_a_power_cut_makes_no_used_token_good_again(tmp_path: Path) -> None:
    """As far as SQLite promises it: at FULL (2) a commit has reached the disk, sqlite.org/pragma.html."""
    async with opened(tmp_path) as tokens:
        assert tokens._database.execute("PRAGMA synchronous").fetchone() == (2,)


async def test_it_still_has_counted_after_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        assert await tokens.claim(b"a", NOW + 60)

    async with opened(tmp_path) as tokens:
        assert not await tokens.claim(b"a", NOW + 60)


async def test_of_fifty_claims_at_once_one_is_the_first(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        claims = await asyncio.gather(*(tokens.claim(b"a", NOW + 60) for _ in range(50)))

    assert sum(claims) == 1


def test_of_two_daemons_with_one_folder_one_is_the_first_each_time(tmp_path: Path) -> None:
    """Both start with no folder yet, and claim the same keys, each key 5 times."""
    keys = [f"key{number}" for number in range(10)] * 5
    command = [sys.executable, "-c", CLAIMER, str(tmp_path / "state"), *keys]

    daemons = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for daemon in daemons:
        assert daemon.stdout is not None
        assert daemon.stdout.readline() == "ready\n"
    answers = [daemon.communicate("go\n", DEADLINE_S)[0].strip() for daemon in daemons]

    assert [daemon.returncode for daemon in daemons] == [0, 0]
    assert [len(answer) for answer in answers] == [50, 50]
    firsts = [answer[number] for answer in answers for number in range(50)]
    assert firsts.count("1") == 10
    for number in range(10):
        assert sum(answer[at] == "1" for answer in answers for at in range(number, 50, 10)) == 1


async def test_a_daemon_that_is_killed_right_after_its_yes_has_used_the_token_up(tmp_path: Path) -> None:
    assert run_to_the_end(VICTIM, str(tmp_path)) == -signal.SIGKILL

    async with opened(tmp_path) as tokens:
        assert not await tokens.claim(b"key", NOW + 60)


async def test_another_daemon_that_is_writing_is_waited_for(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            claim = asyncio.ensure_future(tokens.claim(b"a", NOW + 60))
            done, _ = await asyncio.wait([claim], timeout=0.1)
            other.execute("COMMIT")

            assert not done
            assert await claim


async def test_nobody_waits_long_behind_another_daemon_that_does_not_let_go(tmp_path: Path) -> None:
    tokens = UsedTokens(str(tmp_path), claim_timeout_s=0.2)
    with closing(sqlite3.connect(tmp_path / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        claims = await asyncio.gather(*(tokens.claim(b"%d" % n, NOW) for n in range(3)), return_exceptions=True)
        other.execute("COMMIT")

    assert [str(claim).partition(";")[0] for claim in claims] == ["not written within 0.2 s"] * 3
    assert await tokens.claim(b"2", NOW + 60), "what was not begun uses nothing up"
    await tokens.close()


async def test_another_daemon_that_is_just_starting_is_waited_for(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    opening = asyncio.ensure_future(asyncio.to_thread(UsedTokens, str(tmp_path)))
    done, _ = await asyncio.wait([opening], timeout=0.1)
    os.close(descriptor)

    assert not done
    await (await opening).close()


async def test_folder_and_file_are_the_daemons_own(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    old = os.umask(0)
    try:
        async with opened(folder) as tokens:
            await tokens.claim(b"a", NOW + 60)
            modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    finally:
        os.umask(old)

    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert modes == dict.fromkeys((FILE_NAME, f"{FILE_NAME}-wal", f"{FILE_NAME}-shm"), 0o600)


async def test_what_has_expired_long_ago_is_forgotten_a_bit_at_a_time(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as tokens:
        for number in range(PURGE_MAX + 10):
            await tokens.claim(b"old%d" % number, NOW + 60)
        await tokens.claim(b"young", NOW + 1000)

        clock.now += 60 + KEPT_AFTER_EXPIRY_S + PURGE_INTERVAL_S
        assert await tokens.claim(b"x", clock.now + 60)
        after_one = count_rows(tmp_path)
        assert await tokens.claim(b"y", clock.now + 60)

        assert after_one == 10 + 1 + 1
        assert count_rows(tmp_path) == 3
        assert not await tokens.claim(b"young", NOW + 1000)


async def test_a_clock_that_is_set_back_does_not_put_off_forgetting(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as tokens:
        clock.now += 365 * 86_400
        await tokens.claim(b"in a year", clock.now + 60)
        clock.now = NOW
        await tokens.claim(b"old", NOW + 60)

        clock.now += 60 + KEPT_AFTER_EXPIRY_S + PURGE_INTERVAL_S
        await tokens.claim(b"x", clock.now + 60)

        assert count_rows(tmp_path) == 2


async def test_a_token_is_remembered_longer_than_it_lives(tmp_path: Path) -> None:
    clock = Clock()
    async with opened(tmp_path, clock) as tokens:
        await tokens.claim(b"a", NOW + 60)

        clock.now += 60 + KEPT_AFTER_EXPIRY_S - 1

        assert not await tokens.claim(b"a", NOW + 60)


async def test_a_full_disk_is_an_error_and_no_yes_and_heals(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        assert await tokens.claim(b"before", NOW + 60)
        with files_at_most((tmp_path / f"{FILE_NAME}-wal").stat().st_size), pytest.raises(OSError, match="disk"):
            await tokens.claim(b"a", NOW + 60)

        assert await tokens.claim(b"a", NOW + 60)
        assert not await tokens.claim(b"before", NOW + 60)


def test_a_disk_that_is_full_at_the_start_is_told_as_that(tmp_path: Path) -> None:
    with files_at_most(0), pytest.raises(StateError, match="and that there is room"):
        UsedTokens(str(tmp_path))

    assert (tmp_path / FILE_NAME).read_bytes() == b""


async def test_a_closed_store_says_neither_yes_nor_no(tmp_path: Path) -> None:
    tokens = UsedTokens(str(tmp_path))
    await tokens.claim(b"a", NOW + 60)
    named = [thread.name for thread in threading.enumerate() if thread.name.startswith("used-tokens")]
    await tokens.close()
    await tokens.close()

    with pytest.raises(OSError, match="closed"):
        await tokens.claim(b"b", NOW + 60)
    assert len(named) == 1


def test_a_folder_that_anyone_may_write_to_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)

    with pytest.raises(StateError, match="anyone may write to it; run `chmod o-w`"):
        UsedTokens(str(tmp_path))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 65534, -1)

    with pytest.raises(StateError, match="belongs to uid 65534; run `chown 0` on it"):
        UsedTokens(str(tmp_path))
    assert not (tmp_path / FILE_NAME).exists()


def test_a_path_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(StateError, match="name a folder that the daemon may write to"):
            UsedTokens(str(path))


def test_a_folder_that_nobody_can_write_to_is_refused() -> None:
    with pytest.raises(StateError, match="name a folder that the daemon may write to"):
        UsedTokens("/proc/self")


def test_a_file_that_leads_elsewhere_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).symlink_to(tmp_path / "elsewhere")

    with pytest.raises(StateError):
        UsedTokens(str(tmp_path))
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    "content", [b"no database at all, but long enough to have a header" * 10, b"SQLite format 3\0" * 9]
)
def test_a_file_that_cannot_be_read_is_refused_and_left_as_it_is(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(StateError, match="move it away"):
        UsedTokens(str(tmp_path))
    assert (tmp_path / FILE_NAME).read_bytes() == content


async def test_a_file_with_a_broken_page_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        for number in range(500):
            await tokens.claim(b"%032d" % number, NOW + 60)
    content = bytearray((tmp_path / FILE_NAME).read_bytes())
    content[2 * 4096 : 3 * 4096] = b"\xa5" * 4096
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(StateError, match="move it away"):
        UsedTokens(str(tmp_path))
    assert (tmp_path / FILE_NAME).read_bytes() == content


async def test_used_tokens_are_counted_and_nothing_is_changed_by_it(tmp_path: Path) -> None:
    assert count_used_tokens(tmp_path) is None

    async with opened(tmp_path) as tokens:
        await tokens.claim(b"a", NOW + 60)
        while_open = count_used_tokens(tmp_path)
    afterwards = count_used_tokens(tmp_path)

    assert (while_open, afterwards) == (1, 1)
    assert os.listdir(tmp_path) == [FILE_NAME]


def test_a_file_that_was_left_empty_holds_no_used_token(tmp_path: Path) -> None:
    (tmp_path / FILE_NAME).touch()

    assert count_used_tokens(tmp_path) == 0


@pytest.mark.parametrize("content", [b"no database at all" * 50, b"SQLite format 3\0" * 9])
def test_used_tokens_that_cannot_be_counted_are_told_with_the_way_out(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)

    with pytest.raises(StateError, match="move it away"):
        count_used_tokens(tmp_path)


async def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path) as tokens:
        await tokens.claim(b"a", NOW + 60)
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")

    with pytest.raises(StateError, match=rf"of a newer ws-subprocess \(version {SCHEMA_VERSION + 1}\)"):
        UsedTokens(str(tmp_path))


def test_a_database_of_somebody_else_is_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / FILE_NAME)) as database:
        database.execute("CREATE TABLE used (something TEXT)")

    with pytest.raises(StateError, match="of another program"):
        UsedTokens(str(tmp_path))
