"""Runs jobs as the daemon does, for a test that kills it: what was accepted goes to stdout, one key a line.

python jobs_program.py STATE RUNS MARK COUNT   # submits COUNT jobs, then waits to be killed
python jobs_program.py STATE RUNS MARK 0       # takes up what is left, waits for its end, prints `KEY STATE` of all
"""

import asyncio
import itertools
import os
import sys

from ws_subprocess.app import create_app
from ws_subprocess.config.settings import Settings
from ws_subprocess.model import Grant, LaunchRequest
from ws_subprocess.service.job import JobSpec, Owner
from ws_subprocess.service.jobs import Jobs

OWNER = Owner(b"a" * 32)
CLIENTS = 8
WAIT_S = 300.0


async def _submit(jobs: Jobs, runs: str, mark: str, count: int) -> None:
    numbers = itertools.count()

    async def be_a_client() -> None:
        while next(numbers) < count:
            key = f"{os.getpid()}-{os.urandom(8).hex()}"
            # Each run leaves a line; and a child that would outlive everything.
            script = f"echo run >> {runs}/{key}; setsid sleep {mark} & sleep 0.02"
            grant = Grant("/bin/sh", ("-c", script))
            await jobs.submit(JobSpec("commands", "sh", grant, OWNER, key=key), LaunchRequest("commands", "127.0.0.1"))
            os.write(1, f"{key}\n".encode())

    await asyncio.gather(*(be_a_client() for _ in range(CLIENTS)))
    os.write(1, b"all\n")
    await asyncio.Event().wait()


async def _report(jobs: Jobs) -> None:
    page = await jobs.list("commands", "sh", OWNER, "", 500)
    while page.jobs:
        for job in page.jobs:
            ended = await jobs.wait(job.id, WAIT_S)
            os.write(1, f"{ended.key} {ended.state}\n".encode())
        page = await jobs.list("commands", "sh", OWNER, page.jobs[-1].id, 500)


async def main() -> None:
    """Do what the command line says."""
    state, runs, mark, count = sys.argv[1:]
    app = create_app(Settings(state_dir=state), owns_process=True)
    jobs = app.jobs
    async with app.lifespan(app._asgi):  # type: ignore[arg-type]
        await (_submit(jobs, runs, mark, int(count)) if int(count) else _report(jobs))


if __name__ == "__main__":
    asyncio.run(main())
