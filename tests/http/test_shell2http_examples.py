"""The examples of examples/shell2http: each runs as it stands, and says what its text promises."""

import asyncio
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "shell2http"
PROMISED = {
    "basic.py": ["report: Hello World!"],
    "run_script.py": ["exit code 0 report: this script was started by a request, in hello.sh"],
    "multiple_files.py": ["from the first file", "from the second file"],
    "with_callback.py": ["context: {} report: hello world", "context: {'ticket': 42} report: hello again"],
    "custom_save_fn.py": ["report: written by dd"],
    "with_signals.py": ["one heard: Hello friend!", "another heard: exit code 0", "one heard: Bye friend!"],
    "with_decorators.py": ["asked: POST /cmd/public/echo", "public: 202", "protected: 401", "with password: 202"],
    "deletion.py": ["deleted: 204", "afterwards: No report exists"],
}


@pytest.mark.parametrize("name", PROMISED)
async def test_an_example_runs_and_does_what_it_says(name: str, tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-W",
        "error",
        str(FOLDER / name),
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(FOLDER.parents[1]), "TMPDIR": str(tmp_path)},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        out, err = await process.communicate()

    assert (process.returncode, err) == (0, b"")
    for line in PROMISED[name]:
        assert line in out.decode()
    assert await asyncio.to_thread(lambda: list(tmp_path.iterdir())) == []


def test_every_example_is_run() -> None:
    assert {path.name for path in FOLDER.glob("*.py")} == PROMISED.keys()
