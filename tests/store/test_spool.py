"""Output in files: what is kept, what is counted, and who may use the folder."""

import errno
import hashlib
import os
import random
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from disks import small_disk

from ws_subprocess.model import STDERR, STDOUT
from ws_subprocess.store.spool import Spool
from ws_subprocess.store.used_tokens import StateError

JOB = "0" * 31 + "1"
OTHER = "0" * 31 + "2"


@asynccontextmanager
async def opened(folder: Path, most_bytes: int = 1000, most_job_bytes: int = 600) -> AsyncIterator[Spool]:
    spool = Spool(folder, most_bytes, most_job_bytes)
    try:
        yield spool
    finally:
        await spool.close()


async def keep(spool: Spool, job: str, *pieces: tuple[int, bytes]) -> tuple[dict[int, int], bool]:
    output = spool.begin(job)
    await spool.write(output, pieces)
    output.close()
    return output.sizes, output.is_cut


async def test_each_stream_is_kept_apart_for_the_daemon_alone(tmp_path: Path) -> None:
    async with opened(tmp_path / "spool") as spool:
        sizes, is_cut = await keep(spool, JOB, (STDOUT, b"one"), (STDERR, b"two!"), (STDOUT, b" more"))

        assert (sizes, is_cut) == ({STDOUT: 8, STDERR: 4}, False)
        assert await spool.read(JOB, STDOUT, 0, 100) == b"one more"
        assert await spool.read(JOB, STDOUT, 4, 2) == b"mo"
        assert await spool.read(JOB, STDERR, 0, 100) == b"two!"
        assert stat.S_IMODE((tmp_path / "spool").stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "spool" / JOB).stat().st_mode) == 0o700
        assert stat.S_IMODE((tmp_path / "spool" / JOB / "stdout").stat().st_mode) == 0o600


@pytest.mark.parametrize("size", [1, 4096, 4097, 10_000])
async def test_what_is_read_is_what_was_written_however_it_is_held(tmp_path: Path, size: int) -> None:
    data = random.Random(size).randbytes(size)
    async with opened(tmp_path, 100_000, 100_000) as spool:
        output = spool.begin(JOB)
        await spool.write(output, [(STDOUT, data[:1]), (STDOUT, data[1:])])
        written_down = (tmp_path / JOB / "stdout").read_bytes()
        soon = [await spool.read(JOB, STDOUT, offset, 5000) for offset in range(0, size + 1, 5000)]
        output.close()
        for number in range(600):
            spool.begin(f"{number:032x}")
        later = [await spool.read(JOB, STDOUT, offset, 5000) for offset in range(0, size + 1, 5000)]

    assert written_down == data
    assert b"".join(soon) == b"".join(later) == data


async def test_output_that_is_removed_soon_is_not_read_any_more(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await keep(spool, JOB, (STDOUT, b"short"))
        spool.remove_soon(JOB)
        assert spool.used_bytes in (0, 5)
    assert os.listdir(tmp_path) == []
    assert spool.used_bytes == 0


async def test_a_job_without_output_has_no_folder(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await keep(spool, JOB)

        assert os.listdir(tmp_path) == []
        assert await spool.read(JOB, STDOUT, 0, 100) == b""


async def test_the_checksum_is_of_what_is_kept(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        output = spool.begin(JOB)
        await spool.write(output, [(STDOUT, b"x" * 500), (STDOUT, b"y" * 500)])
        output.close()

        assert output.is_cut
        assert output.get_sha256(STDOUT) == hashlib.sha256(await spool.read(JOB, STDOUT, 0, 5000)).hexdigest()
        assert output.sizes[STDOUT] == 600


async def test_all_jobs_together_keep_no_more_than_may_be(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await keep(spool, JOB, (STDOUT, b"x" * 600))
        sizes, is_cut = await keep(spool, OTHER, (STDOUT, b"x" * 600))

        assert (sizes[STDOUT], is_cut, spool.used_bytes, spool.has_room()) == (400, True, 1000, False)
        await spool.remove([JOB])
        assert (spool.used_bytes, spool.has_room()) == (400, True)


async def test_tidying_removes_what_is_nobodys_and_counts_the_rest(tmp_path: Path) -> None:
    async with opened(tmp_path) as spool:
        await keep(spool, JOB, (STDOUT, b"x" * 10))
        await keep(spool, OTHER, (STDOUT, b"x" * 20))
        mine, left = await spool.make_folder(), await spool.make_folder()
        (mine / "file").write_bytes(b"x" * 5)

        await spool.tidy({OTHER}, {mine})

        assert (mine.exists(), left.exists(), spool.used_bytes) == (True, False, 25)
        assert await spool.read(JOB, STDOUT, 0, 100) == b""


@pytest.mark.parametrize("name", ["", "..", "../../etc", "a" * 31, "A" * 32, f"{JOB}/..", f"{JOB}\n"])
async def test_what_is_no_id_never_becomes_a_path(tmp_path: Path, name: str) -> None:
    (tmp_path / "stdout").write_bytes(b"secret")
    async with opened(tmp_path / "spool") as spool:
        assert await spool.read(name, STDOUT, 0, 100) == b""
        with pytest.raises(ValueError, match="job"):
            spool.begin(name)


async def test_a_link_in_place_of_a_file_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    async with opened(tmp_path / "spool") as spool:
        (tmp_path / "spool" / JOB).mkdir()
        (tmp_path / "spool" / JOB / "stdout").symlink_to(tmp_path / "secret")

        with pytest.raises(OSError) as refusal:  # noqa: PT011 - its number is looked at
            await spool.read(JOB, STDOUT, 0, 100)
        output = spool.begin(JOB)
        await spool.write(output, [(STDOUT, b"overwritten")])

        assert refusal.value.errno == errno.ELOOP
        assert output.is_cut
        assert (tmp_path / "secret").read_bytes() == b"secret"


async def test_uploads_that_are_a_link_to_elsewhere_are_refused_and_nothing_there_is_touched(tmp_path: Path) -> None:
    (tmp_path / "other" / "of-somebody").mkdir(parents=True)
    (tmp_path / "spool").mkdir()
    (tmp_path / "spool" / "uploads").symlink_to(tmp_path / "other")

    with pytest.raises(StateError, match="uploads: a link to elsewhere; remove it"):
        Spool(tmp_path / "spool", 1000, 600)

    assert (tmp_path / "other" / "of-somebody").exists()


@pytest.mark.parametrize("open_to_all", ["state", "state/spool"])
async def test_a_folder_that_anyone_may_write_to_is_refused(tmp_path: Path, open_to_all: str) -> None:
    (tmp_path / "state" / "spool").mkdir(parents=True)
    (tmp_path / open_to_all).chmod(0o777)

    with pytest.raises(StateError, match="anyone may write to it; run `chmod o-w` on it"):
        Spool(tmp_path / "state" / "spool", 1000, 600)


async def test_tidying_leaves_alone_what_is_not_named_as_ours(tmp_path: Path) -> None:
    for name in ("notes", "uploads/notes"):
        (tmp_path / name).mkdir(parents=True)
    async with opened(tmp_path) as spool:
        await spool.tidy(set(), set())

    assert (tmp_path / "notes").exists()
    assert (tmp_path / "uploads" / "notes").exists()


async def test_folders_of_others_are_not_removed_as_uploads(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    async with opened(tmp_path / "spool") as spool:
        await spool.remove_folder(tmp_path / "other")

    assert (tmp_path / "other").exists()


async def test_a_second_daemon_is_kept_out(tmp_path: Path) -> None:
    async with opened(tmp_path):
        with pytest.raises(StateError, match="another daemon"):
            Spool(tmp_path, 1000, 600)
    async with opened(tmp_path):
        pass


def test_a_folder_that_cannot_be_made_is_explained(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    with pytest.raises(StateError, match="name a folder"):
        Spool(tmp_path / "file" / "spool", 1000, 600)


async def test_uploads_that_cannot_be_removed_are_told_and_keep_nobody_waiting(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path / "spool") as spool:
        folder = await spool.make_folder()
        with small_disk(folder / "busy"):
            await spool.remove_folder(folder)
            told = [record.folder for record in caplog.records if record.name == "ws_subprocess.store.spool"]
            assert (told, folder.exists()) == ([str(folder)], True)
        await spool.remove_folder(folder)

        assert not folder.exists()
