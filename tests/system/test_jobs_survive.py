"""Jobs when their daemon is killed at any moment: none that was accepted is lost, none runs twice, nothing lives on."""

import asyncio
import random
import secrets
import subprocess
import sys
from collections import Counter
from pathlib import Path

from daemon_process import daemon_environ
from observing import until
from process_marks import find_marked, marking
from scale import scaled

PROGRAM = str(Path(__file__).parent / "jobs_program.py")
KILLS = scaled(4)
JOBS_PER_LIFE = 60
WAIT_S = 120.0


class Life:
    """One life of the program; its output is kept in a file."""

    def __init__(self, folder: Path, mark: str, count: int) -> None:
        self._path = folder / f"out-{secrets.token_hex(4)}"
        arguments = [str(folder / "state"), str(folder / "runs"), mark, str(count)]
        with open(self._path, "wb") as output:
            self.process = subprocess.Popen(
                [sys.executable, PROGRAM, *arguments], stdout=output, stderr=subprocess.PIPE, env=daemon_environ()
            )

    def lines(self) -> list[str]:
        """Return the whole lines it has written."""
        return [line.rstrip("\n") for line in self._path.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def kill(self) -> None:
        """End it as a power cut of the process would, and see that it had not ended before."""
        assert self.process.poll() is None, self.process.communicate()[1].decode()
        self.process.kill()
        self.process.communicate()


async def test_killed_at_any_moment_no_job_is_lost_and_none_runs_twice(tmp_path: Path) -> None:
    runs = tmp_path / "runs"
    runs.mkdir()
    accepted: set[str] = set()
    moments = random.Random(4)
    with marking() as mark:
        for _ in range(KILLS):
            life = Life(tmp_path, mark, JOBS_PER_LIFE)
            await until(life.lines, "the first job", WAIT_S)
            await asyncio.sleep(moments.random() * 0.6)
            life.kill()
            accepted |= set(life.lines()) - {"all"}
        last = Life(tmp_path, mark, 0)
        await until(lambda: last.process.poll() is not None, "the end of all jobs", WAIT_S)
        assert last.process.returncode == 0, last.process.communicate()[1].decode()
        last.process.communicate()
        orphans = find_marked(mark)

    states = dict(line.split() for line in last.lines())
    counts = Counter({path.name: path.read_text().count("run") for path in runs.iterdir()})
    assert len(accepted) >= KILLS
    assert accepted <= states.keys()
    assert set(states.values()) <= {"finished", "lost"}
    assert set(counts.values()) <= {1}
    assert {key for key, state in states.items() if state == "finished"} <= counts.keys()
    # At least those that were running when it was killed.
    assert Counter(states.values())["lost"] <= 16 * KILLS
    assert orphans == {}
