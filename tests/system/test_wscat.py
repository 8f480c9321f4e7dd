"""wscat, the websocket client that people have at hand, works on the raw dialect."""

import os
import pty
import subprocess
from collections.abc import Iterator

import pytest
from daemon_process import DaemonProcess
from javascript import find_client
from observing import until
from programs import Finished, run_program
from scripted_controller import ScriptedController

HOLD_OPEN = ("-w", "-1")


async def run_wscat(url: str, *arguments: str) -> Finished:
    """Run wscat without a terminal: it prints what comes and nothing else."""
    return await run_program([*find_client("wscat"), "--connect", url, *arguments])


async def test_wscat_runs_a_command_and_shows_what_it_says(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    token = controller.allow("/bin/sh", env={"PS1": "", "LANG": "C.UTF-8"})
    typed = [argument for line in ("echo $((6*7))\n", "echo '5 € 日本 🙂'\n", "exit\n") for argument in ("-x", line)]

    done = await run_wscat(f"ws://127.0.0.1:{daemon.port}/ws?token={token}", *typed, *HOLD_OPEN)

    assert done.status == 0, done.stderr
    assert "\n42\r\n" in done.stdout
    assert "5 € 日本 🙂\r\n" in done.stdout


async def test_wscat_shows_a_character_whole_that_was_written_in_two_parts(
    daemon: DaemonProcess, controller: ScriptedController
) -> None:
    # wscat decodes every message alone.
    token = controller.allow("/bin/sh", "-c", r"printf '<\342'; printf '\202\254>\n'")

    done = await run_wscat(f"ws://127.0.0.1:{daemon.port}/ws?token={token}", "-x", "", *HOLD_OPEN)

    assert done.stdout.replace("\r", "").replace("\n", "") == "<€>"


async def test_wscat_tells_that_a_token_was_refused(daemon: DaemonProcess) -> None:
    done = await run_wscat(f"ws://127.0.0.1:{daemon.port}/ws?token=unknown", "-x", "", *HOLD_OPEN)

    assert done.status != 0
    assert "403" in done.stderr


class Screen:
    """A program on a terminal of its own, as a person would use it."""

    def __init__(self, argv: list[str]) -> None:
        self._master, slave = pty.openpty()
        self.process = subprocess.Popen(argv, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._shown = b""

    def shows(self, text: str) -> bool:
        """Tell whether it has shown `text` at any time."""
        try:
            while data := os.read(self._master, 65536):
                self._shown += data
        except OSError:  # Nothing more now, or ever: the program has ended.
            pass
        return text.encode() in self._shown

    def type(self, text: str) -> None:
        """Press keys."""
        os.write(self._master, text.encode())

    def close(self) -> None:
        """Take the terminal away."""
        self.process.kill()
        self.process.wait()
        os.close(self._master)


@pytest.fixture
def screens() -> Iterator[list[Screen]]:
    """Screens put here are closed at the end."""
    opened: list[Screen] = []
    yield opened
    for screen in opened:
        screen.close()


async def test_a_person_at_wscat_types_a_line_and_sees_the_end(
    daemon: DaemonProcess, controller: ScriptedController, screens: list[Screen]
) -> None:
    # Pipes, because wscat sends a line without its newline and a terminal would wait for that.
    token = controller.allow("/bin/sh", "-c", "head -c 5 | tr a-z A-Z", tty=False)
    screen = Screen([*find_client("wscat"), "--connect", f"ws://127.0.0.1:{daemon.port}/ws?token={token}"])
    screens.append(screen)
    await until(lambda: screen.shows("Connected"), "the connection")

    screen.type("hello\r")

    await until(lambda: screen.shows("HELLO"), "the answer")
    await until(lambda: screen.shows("Disconnected (code: 1000"), "the end")
    await until(lambda: screen.process.poll() is not None, "the end of wscat")
