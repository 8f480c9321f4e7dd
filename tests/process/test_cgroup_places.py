"""Where control groups can be made: what /proc says, and when a daemon may move for it."""

import os
from pathlib import Path

import pytest

from ws_subprocess.process.cgroup_places import OWN_LEAF, Places, find_places, open_places

V1_MOUNTS = """\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime shared:9 - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
"""
V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"


def test_each_controller_of_version_1_has_its_own_tree() -> None:
    found = find_places("8:pids:/\n4:memory:/system/one\n1:name=systemd:/\n0::/\n", V1_MOUNTS)

    assert found.v1 == {"pids": Path("/sys/fs/cgroup/pids"), "memory": Path("/sys/fs/cgroup/memory/system/one")}
    assert found.v2 == Path("/sys/fs/cgroup/unified")


def test_controllers_that_are_mounted_together_share_a_folder() -> None:
    mount = "35 31 0:32 / /cg/both rw - cgroup cgroup rw,memory,pids\n"

    assert find_places("4:memory,pids:/a\n", mount).v1 == dict.fromkeys(("memory", "pids"), Path("/cg/both/a"))


def test_version_2_has_one_tree_for_all() -> None:
    assert find_places("0::/system.slice/daemon.service\n", V2_MOUNT) == Places(
        {}, Path("/sys/fs/cgroup/system.slice/daemon.service")
    )


def test_a_container_sees_its_part_of_the_tree_only() -> None:
    mount = "35 31 0:32 /docker/abc /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n"

    assert find_places("4:memory:/docker/abc\n", mount).v1 == {"memory": Path("/sys/fs/cgroup/memory")}
    assert find_places("4:memory:/docker/abcdef\n", mount).v1 == {}


def test_a_mount_point_may_have_a_space_in_its_name() -> None:
    mount = r"30 23 0:26 / /mnt/a\040b rw - cgroup2 cgroup2 rw" + "\n"

    assert find_places("0::/x\n", mount).v2 == Path("/mnt/a b/x")


def test_a_machine_without_control_groups_has_no_places() -> None:
    assert find_places("", "22 1 0:21 / / rw - ext4 /dev/sda rw\n") == Places({}, None)


# What may be written, on folders that stand in for the kernel's.


def make_group(folder: Path, *, subtree: str = "", procs: str = "") -> Path:
    folder.mkdir()
    (folder / "cgroup.controllers").write_text("cpu memory pids\n")
    (folder / "cgroup.subtree_control").write_text(subtree)
    (folder / "cgroup.procs").write_text(procs)
    return folder


def test_a_folder_of_version_1_must_be_writable(tmp_path: Path) -> None:
    assert open_places(Places({"pids": tmp_path, "memory": tmp_path / "missing"}, None), may_move=True) == {
        "pids": tmp_path
    }


def test_what_version_1_has_is_not_looked_for_in_version_2(tmp_path: Path) -> None:
    own = make_group(tmp_path / "own", subtree="memory pids")
    (tmp_path / "pids").mkdir()

    assert open_places(Places({"pids": tmp_path / "pids"}, own), may_move=False) == {
        "pids": tmp_path / "pids",
        "memory": own,
    }


def test_a_daemon_alone_in_its_group_moves_into_a_leaf(tmp_path: Path) -> None:
    own = make_group(tmp_path / "own", procs=f"{os.getpid()}\n")

    found = open_places(Places({}, own), may_move=True)

    assert found == {"memory": own, "pids": own}
    assert (own / OWN_LEAF / "cgroup.procs").read_text() == "0"
    assert (own / "cgroup.subtree_control").read_text() == "+memory +pids"


def test_having_moved_it_stays_where_it_is(tmp_path: Path) -> None:
    own = make_group(tmp_path / "own", subtree="memory pids\n")
    (own / OWN_LEAF).mkdir()

    assert open_places(Places({}, own / OWN_LEAF), may_move=True) == {"memory": own, "pids": own}
    assert not (own / OWN_LEAF / "cgroup.procs").exists()


@pytest.mark.parametrize(("procs", "may_move"), [(f"1\n{os.getpid()}\n", True), (f"{os.getpid()}\n", False)])
def test_a_group_with_others_or_of_somebody_elses_program_is_left_alone(
    tmp_path: Path, procs: str, may_move: bool
) -> None:
    own = make_group(tmp_path / "own", procs=procs)

    assert open_places(Places({}, own), may_move=may_move) == {}
    assert not (own / OWN_LEAF).exists()
    assert (own / "cgroup.subtree_control").read_text() == ""


def test_a_kernel_that_refuses_leaves_the_daemon_where_it_was(tmp_path: Path) -> None:
    own = make_group(tmp_path / "own", procs=f"{os.getpid()}\n")
    (own / "cgroup.subtree_control").unlink()
    (own / "cgroup.subtree_control").symlink_to("/proc/self/status")  # Can be read, and not be written to.

    found = open_places(Places({}, own), may_move=True)

    assert found == {}
    assert (own / "cgroup.procs").read_text() == "0"
