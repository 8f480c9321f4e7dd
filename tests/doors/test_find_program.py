"""Where a program is looked for that a client names without a path."""

import contextlib
from pathlib import Path

import pytest

from ws_subprocess.doors.proposals import PATH_ENTRIES_MAX, find_program


def place(folder: Path, mode: int = 0o755) -> str:
    folder.mkdir(exist_ok=True)
    program = folder / "program"
    program.write_text("#!/bin/sh\n")
    program.chmod(mode)
    return str(program)


def test_the_first_folder_that_has_it_counts(tmp_path: Path) -> None:
    empty, first, second = tmp_path / "empty", tmp_path / "first", tmp_path / "second"
    place(second)

    assert find_program("program", f"{empty}:{first}:{second}") == f"{second}/program"
    place(first)
    assert find_program("program", f"{empty}:{first}:{second}") == f"{first}/program"


@pytest.mark.parametrize("entry", ["", ".", "here", "./here", "~"])
def test_only_absolute_folders_are_looked_into(tmp_path: Path, entry: str) -> None:
    place(tmp_path)
    place(tmp_path / "here")

    with contextlib.chdir(tmp_path):
        assert find_program("program", f"{entry}:{tmp_path}/there") == f"{tmp_path}/there/program"


def test_what_cannot_be_run_is_passed_by(tmp_path: Path) -> None:
    place(tmp_path / "text", 0o644)
    (tmp_path / "folder" / "program").mkdir(parents=True)
    found = place(tmp_path / "good")

    assert find_program("program", f"{tmp_path}/text:{tmp_path}/folder:{tmp_path}/good") == found


def test_there_is_an_end_to_looking(tmp_path: Path) -> None:
    place(tmp_path)
    path = ":".join([f"{tmp_path}/{number}" for number in range(PATH_ENTRIES_MAX)])

    assert find_program("program", f"{path}:{tmp_path}") == f"{tmp_path}/{PATH_ENTRIES_MAX - 1}/program"
