"""Folders as commands leave them: deep, wide, closed, with links; measured and removed all the same."""

import os
from pathlib import Path

from ws_subprocess.store.trees import measure_tree, remove_tree


def make_deep(folder: Path, depth: int) -> None:
    """Make folders in one another, deeper than a path can be long."""
    folder.mkdir()
    here = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)


def test_a_folder_deeper_than_any_path_is_removed(tmp_path: Path) -> None:
    make_deep(tmp_path / "deep", 5000)

    assert measure_tree(tmp_path / "deep") == 0
    remove_tree(tmp_path / "deep")

    assert os.listdir(tmp_path) == []


def test_all_kinds_of_files_in_many_folders_are_removed(tmp_path: Path) -> None:
    for number in range(20):
        (tmp_path / "wide" / str(number) / "inner" / "d").mkdir(parents=True)
        (tmp_path / "wide" / str(number) / "inner" / "file\n\udcff").write_bytes(b"x" * 10)
        os.mkfifo(tmp_path / "wide" / str(number) / "fifo")
    (tmp_path / "wide" / "1" / "inner").chmod(0o000)

    assert measure_tree(tmp_path / "wide") == 200
    remove_tree(tmp_path / "wide")

    assert os.listdir(tmp_path) == []


def test_what_links_point_to_is_neither_measured_nor_removed(tmp_path: Path) -> None:
    (tmp_path / "other" / "folder").mkdir(parents=True)
    (tmp_path / "other" / "file").write_bytes(b"x" * 1000)
    (tmp_path / "mine" / "below").mkdir(parents=True)
    for link in ("mine/link", "mine/below/link"):
        (tmp_path / link).symlink_to(tmp_path / "other")
    (tmp_path / "instead").symlink_to(tmp_path / "other")

    assert measure_tree(tmp_path / "mine") < 1000
    remove_tree(tmp_path / "mine")
    remove_tree(tmp_path / "instead")

    assert not (tmp_path / "mine").exists()
    assert (tmp_path / "other" / "folder").exists()
    assert (tmp_path / "other" / "file").read_bytes() == b"x" * 1000


def test_what_is_not_there_is_empty_and_removed(tmp_path: Path) -> None:
    assert measure_tree(tmp_path / "nothing") == 0
    remove_tree(tmp_path / "nothing")


def test_what_cannot_be_removed_does_not_keep_it_from_ending(tmp_path: Path) -> None:
    (tmp_path / "folder" / "busy").mkdir(parents=True)
    (tmp_path / "folder" / "file").write_bytes(b"x")
    here = Path.cwd()
    os.chdir("/proc/self")
    try:
        # A folder of a file system that nobody can write to.
        remove_tree(Path("fdinfo"))
        remove_tree(tmp_path / "folder")
    finally:
        os.chdir(here)

    assert os.listdir(tmp_path) == []
