"""Room for sessions, where the machine's own limits would make the real program's answer depend on the machine."""

import subprocess
import sys
from pathlib import Path

from ws_subprocess.cli.limits import make_room, sessions_possible


def terminals(tmp_path: Path, most: int) -> Path:
    path = tmp_path / "max"
    path.write_text(f"{most}\n")
    return path


def test_more_sessions_than_terminals_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    path = terminals(tmp_path, 70)

    (problem,) = make_room(7, path)

    assert str(problem) == (
        f"{path}: max_sessions = 7: needs 71 terminals, kernel.pty.max is 70; "
        "raise it (sysctl kernel.pty.max=71) or lower max_sessions to 6 [pty_max_too_low]"
    )


def test_as_many_sessions_as_there_are_terminals_is_fine(tmp_path: Path) -> None:
    assert make_room(6, terminals(tmp_path, 70)) == []


def test_the_terminals_bound_how_many_sessions_are_possible(tmp_path: Path) -> None:
    assert sessions_possible(terminals(tmp_path, 70)) == 6


def test_one_session_is_always_tried(tmp_path: Path) -> None:
    assert sessions_possible(terminals(tmp_path, 10)) == 1


def make_room_with(soft: int, hard: int, max_waiting: int) -> list[int]:
    """Make room for 10 sessions (104 files); return the new soft limit, and the connections possible."""
    code = (
        "import resource, sys\n"
        "from ws_subprocess.cli.limits import connections_possible, make_room\n"
        "soft, hard, waiting = map(int, sys.argv[1:])\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))\n"
        "assert make_room(10, max_waiting=waiting) == []\n"
        "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], connections_possible(10))\n"
    )
    command = [sys.executable, "-c", code, *map(str, (soft, hard, max_waiting))]
    return [int(word) for word in subprocess.run(command, capture_output=True, check=True, timeout=60).stdout.split()]


def test_files_are_made_room_for_as_connections_need_them_beside_sessions() -> None:
    assert make_room_with(90, 2000, 500) == [604, 500]


def test_connections_get_what_the_hard_limit_leaves() -> None:
    assert make_room_with(90, 300, 500) == [300, 196]


def test_some_connections_are_possible_even_where_sessions_take_it_all() -> None:
    assert make_room_with(90, 104, 500) == [104, 16]


def test_a_limit_that_is_higher_than_needed_stays() -> None:
    assert make_room_with(1000, 2000, 500) == [1000, 896]
