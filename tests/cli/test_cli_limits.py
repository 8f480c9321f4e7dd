"""Room for sessions, where the machine's own limits would make the real program's answer depend on the machine."""

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
