"""The jobs of a whole application, and what to submit to them."""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ws_subprocess.app import App, create_app
from ws_subprocess.config.settings import Settings
from ws_subprocess.model import STDOUT, Grant, LaunchRequest
from ws_subprocess.service.job import Job, JobSpec, Owner
from ws_subprocess.service.jobs import Jobs

WAIT_S = 20.0
OWNER = Owner(b"a" * 32, "ann")
REQUEST = LaunchRequest("commands", "127.0.0.1")


def build_app(folder: Path, **settings: Any) -> App:
    """Return an application whose state is in this folder."""
    return create_app(Settings(state_dir=str(folder), **settings))


@asynccontextmanager
async def run_jobs(folder: Path, **settings: Any) -> AsyncIterator[Jobs]:
    """Serve jobs until the block ends; their sessions are ended then."""
    app = build_app(folder, **settings)
    jobs = app.jobs
    async with app.lifespan(app._asgi):  # type: ignore[arg-type]
        yield jobs


def shell(script: str, *, name: str = "sh", env: Mapping[str, str] | None = None, **spec: Any) -> JobSpec:
    """Return a job that runs a shell script."""
    grant = Grant("/bin/sh", ("-c", script), env=env or {}, principal=OWNER.principal)
    return JobSpec(**{"door": "commands", "name": name, "grant": grant, "owner": OWNER, **spec})


async def finish(jobs: Jobs, spec: JobSpec) -> Job:
    """Submit a job and return it as it ended."""
    job = await jobs.wait((await jobs.submit(spec, REQUEST)).id, WAIT_S)
    assert job.state.is_end
    return job


async def read_all(jobs: Jobs, job: Job, stream: int = STDOUT) -> bytes:
    """Return all output that is kept."""
    return await jobs.read_output(job.id, stream, 0, 1 << 20)


def is_running(script_mark: str) -> bool:
    """Tell whether a process has this word among its arguments."""
    for name in filter(str.isdecimal, os.listdir("/proc")):
        try:
            words = Path(f"/proc/{name}/cmdline").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if script_mark.encode() in words:
            return True
    return False
