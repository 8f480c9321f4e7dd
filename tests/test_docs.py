"""The documents against the code: what a person can set, meet, ask for or measure is written down."""

import re
import subprocess
import sys

import pytest
from documents import ROOT, TABLES, read_table

from ws_subprocess.app import create_app
from ws_subprocess.config.settings import SETTINGS, Settings

# Flags that say where settings come from, or are about the program itself.
OTHER_FLAGS = {"--config", "--help"}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_in_the_documents_is_the_one_the_code_makes(name: str) -> None:
    file, make = TABLES[name]

    table = read_table((ROOT / file).read_text(), name)

    assert table.splitlines() == make().splitlines(), "run `python tests/documents.py`"


def test_every_flag_of_serve_is_a_setting() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ws_subprocess", "serve", "--help"],
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )

    flags = set(re.findall(r"^ +(?:-[a-z]+, )*(--[a-z-]+)", done.stdout, re.MULTILINE))

    assert flags == {setting.flag for setting in SETTINGS.values()} | OTHER_FLAGS


def test_every_route_is_named_in_the_protocol() -> None:
    protocol = (ROOT / "PROTOCOL.md").read_text()

    paths = {route.path for route in create_app(Settings())._asgi.routes}

    assert "/ws" in paths
    assert {path for path in paths if not re.search(rf"`GET {path or '/'}[`/]", protocol)} == set()
