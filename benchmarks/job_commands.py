"""What both servers of jobs serve: the same commands at the same paths."""

import shutil

from benchmarks.programs import CHILD

PREFIX = "/commands"
COMMANDS = {
    "true": shutil.which("true") or "/bin/true",
    "echo": shutil.which("echo") or "/bin/echo",
    "child": CHILD,
}
