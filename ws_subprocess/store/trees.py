"""Folders that commands have written to, however they left them: measured and removed.

Laws: no link is followed; neither depth, number nor names of what is there matter: nothing recurses, and no path is
longer than the folder's own.
"""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def measure_tree(folder: Path) -> int:
    """Return the bytes of all files in a folder, as far as their paths can be spelled; 0 where there is none."""
    size, folders = 0, [os.fspath(folder)]
    while folders:
        with contextlib.suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                else:
                    size += entry.stat(follow_symlinks=False).st_size
    return size


def remove_tree(folder: Path) -> bool:
    """Remove a folder and all that is in it, and tell whether it is gone. A link in its place is left alone."""
    with contextlib.suppress(OSError):
        top = os.open(folder, _FOLDER)
        try:
            while _remove_layer(top):
                pass
        finally:
            os.close(top)
        os.rmdir(folder)
    return not os.path.lexists(folder)


def _remove_layer(top: int) -> bool:
    """Remove what is right in a folder, and pull up what was below; tell whether there is anything left to do."""
    found = list(_list(top))
    for name, is_folder in found:
        with contextlib.suppress(OSError):
            if is_folder:
                _pull_up(top, name)
                os.rmdir(name, dir_fd=top)
            else:
                os.unlink(name, dir_fd=top)
    # Where nothing could be removed or pulled up, looking again is of no use.
    return bool(found) and {name for name, _ in found} != {name for name, _ in _list(top)}


def _pull_up(top: int, name: str) -> None:
    """Remove the files of a folder, and move its folders beside it."""
    with contextlib.suppress(PermissionError):
        os.chmod(name, 0o700, dir_fd=top)  # It may have been closed to its own owner.
    below = os.open(name, _FOLDER, dir_fd=top)
    try:
        for inner, is_folder in _list(below):
            if is_folder:
                os.rename(inner, secrets.token_hex(16), src_dir_fd=below, dst_dir_fd=top)
            else:
                os.unlink(inner, dir_fd=below)
    finally:
        os.close(below)


def _list(folder: int) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.is_dir(follow_symlinks=False)
