"""The wheel has all that the daemon needs, the page included, and nothing that only its making needs."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from daemon_process import REPOSITORY, DaemonProcess, daemon_environ, get, launch
from programs import run_program
from websockets.asyncio.client import connect

BUILD_TIMEOUT_S = 120
VENDORED = ("xterm", "addon-clipboard", "addon-fit", "addon-search", "addon-unicode-graphemes", "addon-web-links")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of this checkout, built as `make wheel` does."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
        str(REPOSITORY),
    ]
    subprocess.run(command, check=True, timeout=BUILD_TIMEOUT_S)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def names(wheel: Path) -> set[str]:
    """The files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_every_module_and_the_typing_marker(names: set[str]) -> None:
    package = REPOSITORY / "ws_subprocess"
    modules = {str(path.relative_to(REPOSITORY)) for path in package.rglob("*.py")}

    assert modules <= names
    assert "ws_subprocess/py.typed" in names


def test_the_wheel_has_the_page_and_its_libraries_with_their_licences(names: set[str]) -> None:
    static = REPOSITORY / "static"
    ours = {"index.html", "page.js", "page.css", "ws-terminal.js", "native-v1.js", "icon.svg"}
    ours |= {str(path.relative_to(static)) for path in (static / "terminal").glob("*.js")}
    theirs = {f"vendor/{name}{end}" for name in (*VENDORED, "addon-webgl") for end in (".mjs", ".LICENSE.txt")}

    assert {f"ws_subprocess/static/{name}" for name in ours | theirs | {"vendor/xterm-css.mjs"}} <= names


def test_the_wheel_has_nothing_else(names: set[str]) -> None:
    allowed = (".py", ".js", ".mjs", ".css", ".html", ".svg", ".LICENSE.txt", "/py.typed")
    package = {name for name in names if ".dist-info/" not in name}

    assert {name for name in package if not name.startswith("ws_subprocess/")} == set()
    assert {name for name in package if not name.endswith(allowed)} == set()
    assert {name for name in package if "node_modules" in name or "build.mjs" in name} == set()


@pytest.fixture
async def installed(wheel: Path, tmp_path: Path) -> Path:
    """A folder with the wheel's content and nothing else; what it depends on is the interpreter's."""
    folder = tmp_path / "installed"
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), str(wheel))
    done = await run_program(pip, timeout_s=BUILD_TIMEOUT_S)
    assert done.status == 0, done.stderr
    return folder


async def test_what_is_installed_from_the_wheel_runs_a_command_and_serves_the_page(
    installed: Path, tmp_path: Path
) -> None:
    program = (str(installed / "bin" / "ws-subprocess"),)
    environ = daemon_environ(PYTHONPATH=str(installed))
    daemon = launch(tmp_path / "daemon", "run", "--", "/bin/echo", "hello", program=program, environ=environ)
    try:
        await daemon.ready()
        page, _, token = daemon.url.partition("/#token=")
        await check_page(page)
        output = await run_command(daemon, token)
    finally:
        await daemon.end()

    assert output == b"hello\r\n"


async def check_page(page: str) -> None:
    """Fail unless the page and what it loads are served."""
    loaded = re.findall(r'(?:src|href)="(?:\./)?(static/[^"]+)"', (await get(f"{page}/")).text)
    assert "static/page.js" in loaded
    for name in (*loaded, "static/ws-terminal.js", "static/terminal/terminal-view.js", "static/vendor/xterm.mjs"):
        assert (await get(f"{page}/{name}")).status_code == 200, name


async def run_command(daemon: DaemonProcess, token: str) -> bytes:
    """Return all that the command of `ws-subprocess run` says."""
    async with connect(f"ws://127.0.0.1:{daemon.port}/ws?token={token}", proxy=None) as websocket:
        return b"".join([part async for part in websocket if isinstance(part, bytes)])
