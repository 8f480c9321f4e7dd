"""Ending a whole tree, however its members hide and whatever they ignore."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from children import Nursery, find_marked
from observing import is_alive, until
from test_cgroup import pids_here

from ws_subprocess.process import tree
from ws_subprocess.process.tree import ProcessRow

HERE = Path(__file__).parent


def play(name: str, folder: Path, *prefix: str) -> Any:
    """Play a scenario of `owner_scenarios` in a process of its own, started by the program `prefix` if given."""
    path = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parent.parent)])
    done = subprocess.run(
        [*prefix, sys.executable, str(HERE / "owner_scenarios.py"), name, str(folder)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_nothing_of_a_hostile_tree_is_left(tmp_path: Path) -> None:
    assert play("end_one", tmp_path) == {"alive": [], "children": [], "descriptors": 0}


def test_what_is_older_than_the_first_session_is_left_alone(tmp_path: Path) -> None:
    assert play("sweep_beside_a_browser", tmp_path) == {"alive": True}


def test_what_forks_for_the_daemon_is_left_alone(tmp_path: Path) -> None:
    assert play("sweep_beside_a_fork_server", tmp_path) == {"servers": 1, "same": True, "code": 3}


def test_a_sweep_without_descriptors_brings_nothing_down(tmp_path: Path) -> None:
    assert play("sweep_without_descriptors", tmp_path) == {"swept": True}


def test_a_session_ends_in_a_program_that_ignores_its_children(tmp_path: Path) -> None:
    seen = play("end_where_children_are_not_waited_for", tmp_path)

    assert (seen["code"], seen["signal"]) == (None, None)


def test_ending_one_session_leaves_the_others_alone(tmp_path: Path) -> None:
    seen = play("end_one_of_two", tmp_path)

    # Only who gave up everything by which it could be known may outlive its session, until the other has ended.
    assert len(seen["own"]) <= 1
    assert seen["lost"] == []
    assert seen["left"] == []
    assert seen["children"] == []


def test_what_hides_goes_as_soon_as_no_living_session_is_as_old_as_it(tmp_path: Path) -> None:
    assert play("end_the_older_of_two", tmp_path) == {"lost": []}


def test_a_sweep_spares_whatever_may_belong_to_a_living_session(tmp_path: Path) -> None:
    assert play("sweep_beside_a_living_one", tmp_path) == {"lost": []}


def test_orphans_that_have_ended_are_reaped_and_hold_nobody_up(tmp_path: Path) -> None:
    assert play("leave_orphans", tmp_path) == {"children before closing": 1, "children": []}


def test_nothing_that_a_daemon_starts_gains_privileges_by_setuid(tmp_path: Path) -> None:
    assert play("forbid_setuid", tmp_path) == {"before": "0", "children": ["1", "1"]}


@pids_here
def test_the_groups_of_a_killed_daemon_are_removed_by_the_next(tmp_path: Path) -> None:
    assert play("outlive_a_killed_daemon", tmp_path) == {"left": False}


@pids_here
def test_a_daemon_that_ends_at_once_leaves_no_groups(tmp_path: Path) -> None:
    assert play("end_with_sessions_just_killed", tmp_path) == {"left": 0}


async def test_without_owning_the_process_whoever_can_be_known_is_ended(nursery: Nursery, tmp_path: Path) -> None:
    """By parent, by session, or by the mark in the environment."""
    members = "sleep 1001 & setsid sleep 1002 & (setsid sleep 1003 &) ; (sleep 1004 &)"
    running = nursery.shell(f"trap '' HUP TERM; {members}; echo ready; sleep 1005")
    await running.says(b"ready")
    await until(lambda: len(find_marked(running.child.session)) == 6, "the whole tree")
    pids = find_marked(running.child.session)

    assert running.child.has_survivors()
    while running.child.kill_tree():
        pass

    await until(lambda: not any(map(is_alive, pids)), "the end of all")
    await running.finish()


async def test_a_signal_to_the_tree_reaches_all_of_it(nursery: Nursery) -> None:
    running = nursery.shell("(setsid sleep 1003 &) ; sleep 1004 & echo ready; sleep 1005")
    await running.says(b"ready")
    await until(lambda: len(find_marked(running.child.session)) == 4, "the whole tree")
    pids = find_marked(running.child.session)

    running.child.signal_tree(signal.SIGTERM)

    await until(lambda: not any(map(is_alive, pids)), "the end of all")
    await running.finish()


async def test_a_process_that_has_the_pid_of_a_former_one_is_not_signalled(nursery: Nursery) -> None:
    running = nursery.start("/bin/sleep", "1000")
    row = tree.read_row(running.pid)
    assert row is not None
    former = ProcessRow(row.pid, row.state, row.parent, row.session, row.start_time - 1)

    tree.send_signal([former], signal.SIGKILL)
    assert is_alive(running.pid)
    tree.send_signal([row], signal.SIGKILL)

    await running.finish()


async def test_a_command_with_an_odd_name_is_read_right(nursery: Nursery, tmp_path: Path) -> None:
    """The name stands in parentheses and may hold more of them, spaces, anything."""
    odd = tmp_path / "a) R 1 1 (b"
    odd.symlink_to("/bin/sleep")
    running = nursery.start(str(odd), "1000")

    row = tree.read_row(running.pid)

    assert row is not None
    assert (row.parent, row.session) == (os.getpid(), running.pid)


def test_a_process_that_is_gone_has_no_row() -> None:
    done = subprocess.Popen(["/bin/true"])
    done.wait()

    assert tree.read_row(done.pid) is None


def test_our_own_children_are_listed_zombies_included() -> None:
    child = subprocess.Popen(["/bin/true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)

    try:
        children = tree.list_children()
    finally:
        child.wait()

    assert children is not None
    assert child.pid in children


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_signalling_what_has_gone_hurts_nobody(number: int) -> None:
    done = subprocess.Popen(["/bin/true"])
    done.wait()

    tree.send_signal([ProcessRow(done.pid, "S", 1, 1, 1)], number)
