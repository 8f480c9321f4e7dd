"""xterm.js's own AttachAddon, which knows nothing of us, works on the raw dialect."""

import json

from daemon_process import DaemonProcess
from javascript import find_script
from programs import run_program
from scripted_controller import ScriptedController

SHELL = ("/bin/bash", "--norc", "--noprofile")


async def test_attach_addon_types_and_shows_what_comes_back(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    token = controller.allow(*SHELL, env={"PS1": "> ", "LANG": "C.UTF-8"})
    url = f"ws://127.0.0.1:{daemon.port}/ws?token={token}&rows=24&cols=80"
    # The second line has a character of two columns, one that combines, and one of four bytes.
    script = [
        "echo $((6*7))\r",
        "42",
        "echo '日本 e\u0301 🙂.'\r",
        "日本 e\u0301 🙂.",
        "stty size\r",
        "24 80",
        "exit 3\r",
    ]

    done = await run_program([*find_script("tests/js/attach.mjs"), url, *script])

    assert done.status == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["code"] == 1000
    wide = [["日", 2], ["", 0], ["本", 2], ["", 0]]
    assert [["4", 1], ["2", 1]] in shown["lines"]
    assert [line for line in shown["lines"] if line[:4] == wide], shown["lines"]


async def test_a_character_that_arrives_in_two_writes_is_shown_whole(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    token = controller.allow("/bin/sh", "-c", r"printf '<\342'; sleep 0.2; printf '\202\254>\n'; read line")
    url = f"ws://127.0.0.1:{daemon.port}/ws?token={token}"

    done = await run_program([*find_script("tests/js/attach.mjs"), url, "", "<€>", "\r"])

    assert done.status == 0, done.stderr
