"""The example controller on a real port, with a clock that only tests turn."""

import html
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from uvicorn_serving import serve_with_uvicorn

from example_controller.app import create_app
from example_controller.database import Database
from example_controller.listening import Address, listen
from example_controller.passwords import hash_password
from example_controller.programs import DEMO_USERS, Program

DAEMON = "http://127.0.0.1:8866"
# What a browser says of a request that one of the controller's own pages made.
OWN_PAGE = {"Sec-Fetch-Site": "same-origin"}
PASSWORD_HASHES = {user.name: hash_password(user.password) for user in DEMO_USERS}


@dataclass(slots=True)
class Clock:
    """Seconds since the epoch, as set."""

    now_s: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now_s


@dataclass(frozen=True, slots=True)
class Site:
    """A running controller and what stands behind it."""

    url: str
    database: Database
    clock: Clock

    def browser(self) -> httpx.AsyncClient:
        """Return a client with cookies of its own, on no page of another site."""
        return httpx.AsyncClient(base_url=self.url, headers=OWN_PAGE, trust_env=False)

    @asynccontextmanager
    async def logged_in(self, name: str) -> AsyncIterator[httpx.AsyncClient]:
        """Give a browser in which that user has logged in."""
        password = {user.name: user.password for user in DEMO_USERS}[name]
        async with self.browser() as browser:
            answer = await browser.post("/login", data={"name": name, "password": password})
            assert answer.status_code == 303
            yield browser

    @staticmethod
    def program_ids(page: str) -> list[str]:
        """Return what a programs page offers."""
        return re.findall(r'action="/programs/([^"]+)"', page)

    @staticmethod
    def terminal_attributes(page: str) -> dict[str, str]:
        """Return the attributes of a page's `<ws-terminal>`."""
        element = re.search(r"<ws-terminal ([^>]*)>", page)
        assert element is not None, page
        return {name: html.unescape(value) for name, value in re.findall(r'([a-z-]+)="([^"]*)"', element[1])}

    async def ask(self, token: str) -> httpx.Response:
        """Ask as the daemon does."""
        async with httpx.AsyncClient(trust_env=False) as daemon:
            return await daemon.get(f"{self.url}/ws-controller", params={"token": token})


ServeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def serve_site(tmp_path: Path) -> AsyncIterator[ServeSite]:
    """A function that starts a controller; all end with the test."""
    async with AsyncExitStack() as stack:
        count = itertools.count()

        async def serve(only_program: Program | None = None, daemon: str = DAEMON, key: bytes | None = None) -> Site:
            clock = Clock()
            database = Database(str(tmp_path / f"controller{next(count)}.sqlite3"), clock)
            stack.callback(database.close)
            for name, password_hash in PASSWORD_HASHES.items():
                database.add_user(name, password_hash)
            listener = listen(Address("127.0.0.1", 0))
            origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            app = create_app(database, origin, daemon, only_program, key)
            await stack.enter_async_context(serve_with_uvicorn(app, listener, http="auto", proxy_headers=False))
            return Site(origin, database, clock)

        yield serve


@pytest.fixture
async def site(serve_site: ServeSite) -> Site:
    """The controller with its two demo users."""
    return await serve_site()


@pytest.fixture
async def operator(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in which the operator has logged in."""
    async with site.logged_in("operator") as browser:
        yield browser


@pytest.fixture
async def viewer(site: Site) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in which the viewer has logged in."""
    async with site.logged_in("viewer") as browser:
        yield browser
