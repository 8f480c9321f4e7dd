"""The routes: `/ws-controller` for the daemon, `token-url` for the terminal, pages for people.

The way of a terminal: a click is a POST; it stores a token with the grant and puts the token into the page; the page's
`<ws-terminal>` shows it to the daemon; the daemon asks `/ws-controller`, once, and runs what the answer says.
"""

import asyncio
import ipaddress
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ParamSpec, TypeVar
from urllib.parse import parse_qsl

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from example_controller import pages
from example_controller.database import SESSION_LIFETIME_S, Database
from example_controller.guard import CONTROLLER_PATH, Guard, terminal_policy
from example_controller.passwords import NOBODYS_HASH, is_password
from example_controller.programs import Program, programs_of
from example_controller.signing import HEADER, sign

COOKIE = "example_controller_session"
FORM_BYTES = 4096
FORM_DEADLINE_S = 10.0
ASSETS = Path(__file__).with_name("assets")

log = logging.getLogger(__name__)
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who is asking and what they may run. Nobody logs in to the one-command variant: `name` is None there."""

    name: str | None
    programs: tuple[Program, ...]

    def program(self, program_id: str) -> Program:
        """Return one of this visitor's programs. Those of others do not exist for them: HTTPException 404."""
        for program in self.programs:
            if program.id == program_id:
                return program
        raise HTTPException(404, "This program is not on your list. It may have been removed from this machine.")


class Controller:
    """What the routes share. `daemon` is the base URL of ws-subprocess as the browser sees it."""

    def __init__(self, database: Database, daemon: str, only_program: Program | None, key: bytes | None) -> None:
        self._database = database
        self._daemon = daemon
        self._only_program = only_program
        self._key = key
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="database")

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        """Let the worker finish what it began when the app ends."""
        with self._worker:
            yield

    # For the daemon and the terminal.

    async def answer(self, request: Request) -> Response:
        """`GET /ws-controller?token=T`: the grant, once; 403 for every other token, whatever is wrong with it.

        Only this machine may ask, because the daemon runs on it. The token is the authority, so nobody gets more by
        asking here; but whoever found one could use it up, and read the grant. Behind a proxy on this machine everybody
        seems to be loopback: do not publish this path there. A daemon on another machine needs https and a secret in
        the query of its `--controller-url`, compared here with `hmac.compare_digest`.
        """
        tokens = request.query_params.getlist("token")
        if len(tokens) != 1 or not _is_loopback(request):
            return PlainTextResponse("Invalid token\n", 403)
        grant_json = await self._stored(self._database.use_token, tokens[0])
        if grant_json is None:
            log.info("token refused")
            return PlainTextResponse("Invalid token\n", 403)
        log.info("token used")
        answer = grant_json.encode()
        signed = {HEADER: sign(self._key, "GET", tokens[0].encode(), answer)} if self._key else None
        return Response(answer, media_type="application/json", headers=signed)

    async def token(self, request: Request) -> Response:
        """`POST /programs/{id}/token`, for "Start again" in an open page: a new token as JSON."""
        visitor = await self._visitor(request)
        if visitor is None:
            raise HTTPException(401, "Your login has ended. Log in again.")
        program = visitor.program(request.path_params["program"])
        return JSONResponse({"token": await self._new_token(visitor, program)})

    # For people.

    async def home(self, request: Request) -> Response:
        """`GET /`: the programs this visitor may run."""
        visitor = await self._visitor(request)
        if visitor is None:
            return RedirectResponse("/login", 303)
        return HTMLResponse(pages.programs_page(visitor.name, visitor.programs))

    async def terminal(self, request: Request) -> Response:
        """`POST /programs/{id}`: the page with the terminal. A GET never writes a token: browsers fetch ahead."""
        visitor = await self._visitor(request)
        if visitor is None:
            return RedirectResponse("/login", 303)
        program = visitor.program(request.path_params["program"])
        token = await self._new_token(visitor, program)
        page = pages.terminal_page(visitor.name, program, self._daemon, token)
        return HTMLResponse(page, headers={"Content-Security-Policy": terminal_policy(self._daemon)})

    async def login_form(self, request: Request) -> Response:
        """`GET /login`."""
        if await self._visitor(request) is not None:
            return RedirectResponse("/", 303)
        had_login = COOKIE in request.cookies
        return HTMLResponse(pages.login_page("Your login has ended. Log in again." if had_login else ""))

    async def login(self, request: Request) -> Response:
        """`POST /login`. A real application also limits how often somebody may try."""
        form = await _read_form(request)
        name = form.get("name", "")
        stored = await self._stored(self._database.password_hash, name)
        if not await asyncio.to_thread(is_password, form.get("password", ""), stored or NOBODYS_HASH):
            log.warning("login refused")
            return HTMLResponse(pages.login_page("Name or password is wrong.", name), 403)
        log.info("logged in", extra={"user": name})
        answer = RedirectResponse("/", 303)
        secret = await self._stored(self._database.open_session, name)
        # Behind https also secure=True, and "__Host-" before the name.
        answer.set_cookie(COOKIE, secret, max_age=int(SESSION_LIFETIME_S), httponly=True, samesite="strict")
        return answer

    async def logout(self, request: Request) -> Response:
        """`POST /logout`."""
        await self._stored(self._database.close_session, request.cookies.get(COOKIE, ""))
        answer = RedirectResponse("/login", 303)
        answer.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return answer

    # Within.

    async def _visitor(self, request: Request) -> Visitor | None:
        if self._only_program is not None:
            return Visitor(None, (self._only_program,))
        name = await self._stored(self._database.session_user, request.cookies.get(COOKIE, ""))
        return None if name is None else Visitor(name, programs_of(name))

    async def _new_token(self, visitor: Visitor, program: Program) -> str:
        grant = program.grant()
        if grant is None:
            raise HTTPException(404, f"{program.name} is not on this machine any more.")
        log.info("token written", extra={"user": visitor.name or "anybody", "program": program.id})
        if visitor.name is not None:
            grant["principal"] = visitor.name  # The daemon's audit says who it was, and counts this user's terminals.
        return await self._stored(self._database.write_token, grant)

    async def _stored(self, call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._worker, lambda: call(*args, **kwargs))


def create_app(
    database: Database, origin: str, daemon: str, only_program: Program | None = None, key: bytes | None = None
) -> Starlette:
    """Build the host application.

    Args:
        database: Open, and closed by the caller after the app has ended.
        origin: Where these pages are served: scheme, host and port.
        daemon: Base URL of ws-subprocess. Its scripts and its websocket are allowed on the terminal's page.
        only_program: Everybody may run this, without login; else users log in and see their own list.
        key: What grants are signed with, if at all; the daemon has the same in `controller_hmac_key`.
    """
    controller = Controller(database, daemon, only_program, key)
    routes: list[Route | Mount] = [
        Route(CONTROLLER_PATH, controller.answer),
        Route("/programs/{program}/token", controller.token, methods=["POST"]),
        Route("/programs/{program}", controller.terminal, methods=["POST"]),
        Route("/programs/{program}", lambda _request: RedirectResponse("/", 303)),
        Route("/", controller.home),
        Mount("/assets", StaticFiles(directory=ASSETS)),
    ]
    if only_program is None:
        routes += [
            Route("/login", controller.login_form),
            Route("/login", controller.login, methods=["POST"]),
            Route("/logout", controller.logout, methods=["POST"]),
        ]
    routes.append(Route("/{path:path}", _no_such_page, methods=["GET", "POST"]))
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, origin=origin)],
        exception_handlers={HTTPException: _error_answer},
        lifespan=controller.lifespan,
    )


async def _no_such_page(_request: Request) -> Response:
    raise HTTPException(404, "There is no such page here.")


def _is_loopback(request: Request) -> bool:
    return request.client is not None and ipaddress.ip_address(request.client.host).is_loopback


async def _read_form(request: Request) -> dict[str, str]:
    body = bytearray()
    try:
        async with asyncio.timeout(FORM_DEADLINE_S):
            async for chunk in request.stream():
                body += chunk
                if len(body) > FORM_BYTES:
                    raise HTTPException(413, f"The form is longer than {FORM_BYTES} bytes.")
        return dict(parse_qsl(body.decode("ascii"), max_num_fields=8))
    except TimeoutError as exc:
        raise HTTPException(408, f"The form did not arrive within {FORM_DEADLINE_S:.0f} seconds.") from exc
    except (ClientDisconnect, ValueError) as exc:
        raise HTTPException(400, "The form cannot be read.") from exc


async def _error_answer(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if "json" in request.headers.get("accept", ""):
        # RFC 9457, for scripts such as the terminal's "Start again".
        problem = {"title": error.detail, "status": error.status_code}
        return JSONResponse(problem, error.status_code, error.headers, "application/problem+json")
    return HTMLResponse(pages.error_page(error.detail), error.status_code, error.headers)
