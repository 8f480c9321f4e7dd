"""What a daemon knows and was given is not its commands', not even when they are of its own account."""

import os
from pathlib import Path

import pytest
from test_tree import play

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else, or has capabilities")


@as_root
def test_a_command_of_its_account_cannot_read_its_environment_memory_or_descriptors(tmp_path: Path) -> None:
    assert play("tell_its_own_account_nothing", tmp_path) == {"before": ["opened"], "after": ["0"]}


@as_root
def test_a_command_gets_none_of_the_capabilities_that_the_daemon_was_given(tmp_path: Path) -> None:
    prefix = ("/usr/bin/setpriv", "--inh-caps=+net_bind_service", "--ambient-caps=+net_bind_service")

    assert play("hand_on_no_capability", tmp_path, *prefix) == {"ours": True, "ambient": "0" * 16}


@as_root
@pytest.mark.skipif(not Path("/proc/keys").exists(), reason="this kernel has no keyrings that could be shared")
def test_another_account_does_not_get_the_daemons_keyring(tmp_path: Path) -> None:
    assert play("leave_the_keyring", tmp_path) == {"seen": [True, False]}
