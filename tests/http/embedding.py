"""Registered commands of a program around us: what tests of the Python API begin with."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette

from ws_subprocess.app import App, create_app
from ws_subprocess.config.settings import Settings


@asynccontextmanager
async def asking(app: App | Starlette) -> AsyncIterator[httpx.AsyncClient]:
    """Let an application live, and yield a client of it."""
    lifespan = app.lifespan(app) if isinstance(app, App) else app.router.lifespan_context(app)
    transport = httpx.ASGITransport(app)
    async with lifespan, httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def run(client: httpx.AsyncClient, path: str, **fields: Any) -> dict[str, Any]:
    started = await client.post(path, json=fields)
    assert started.status_code == 202, started.text
    report = await client.get(path, params={"key": started.json()["key"], "wait": "true"})
    found: dict[str, Any] = report.json()
    return found


@pytest.fixture(params=["ours", "starlette"])
def build(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[], App | Starlette]:
    """Return a function that builds an application of either kind."""
    settings = Settings(state_dir=str(tmp_path / "state"))
    return Starlette if request.param == "starlette" else lambda: create_app(settings)
