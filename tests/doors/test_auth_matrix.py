"""Every door x every kind of credential x every way to send it: who is let in, who is asked, and what is used up.

The doors are those that the router has: one that is added without a gate, or without a reason for having none, fails.
"""

import itertools
import logging
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from credential_kinds import KINDS, send
from daemon import Daemon, Reply
from gated_daemon import STATIC, WAYS, Gated, Header, gated_daemon
from http_doors import ANY_METHOD, HTTP_LOOKS, HTTP_STARTS, open_all_doors
from knocking import PROBLEM, authorization
from observing import list_children, until
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import BaseRoute, Mount, Route, WebSocketRoute
from starlette.staticfiles import StaticFiles

from ws_subprocess.app import create_app
from ws_subprocess.config.settings import Settings
from ws_subprocess.errors import FAULTS
from ws_subprocess.service.audit import AUDIT_LOGGER

Door = tuple[str, str]
FOREIGN_HOST, FOREIGN_ORIGIN = "evil.example", ("Origin", "https://evil.example")

# Doors that need no token, and why. What still holds there: Host and Origin are checked, nobody is asked about a token
# and none is used up, nothing starts.
PUBLIC: dict[Door, str] = {
    ("GET", "/"): "the page: the same for everybody, and without a token of no use",
    ("GET", "/static/"): "the page's files: published with the package",
    ("GET", "/healthz"): "says that the process lives, which a connection tells anyway",
    ("GET", "/readyz"): "says whether it drains, which /ws tells anyway",
    ("GET", "/metrics"): "figures without names or secrets; for whom, the setting `metrics` says",
    ("GET", "/docs"): "the description for people: what PROTOCOL.md says, and the names of commands",
    ("GET", "/openapi.json"): "the same for programs",
}
# Shares nothing but the methods there are, and those with pages of allowed origins alone; browsers send it no token.
PREFLIGHT: dict[Door, str] = {("OPTIONS", "/ws"): "what a browser asks before it may send a header of its own"}
# Needs a token; starts a command.
STARTS: set[Door] = {("WEBSOCKET", "/ws")}
# Needs a token; tells only why that very token was refused a moment ago.
EXPLAINS: set[Door] = {("GET", "/ws")}


class UnknownRouteError(Exception):
    """A kind of route that this test cannot look into, so nobody knows what is behind it."""


def list_doors(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[Door]:
    """Yield method and path of everything that the router answers; HEAD is GET without the body."""
    for route in routes:
        match route:
            case WebSocketRoute():
                yield "WEBSOCKET", prefix + route.path
            case Route():
                if route.methods is None:
                    # What is behind it decides: `test_http_doors` holds it to the methods that it is known for.
                    yield ANY_METHOD, prefix + route.path
                    continue
                yield from ((method, prefix + route.path) for method in route.methods - {"HEAD"})
            case Mount() if route.routes:
                yield from list_doors(route.routes, prefix + route.path)
            case Mount() if find_files(route.app):
                yield "GET", f"{prefix}{route.path}/"
            case _:
                raise UnknownRouteError(route)


def find_files(app: Any) -> StaticFiles | None:
    """Return the static files that an application serves, below whatever guards them."""
    while app is not None and not isinstance(app, StaticFiles):
        app = getattr(app, "_app", None)
    return app


def known_doors() -> set[Door]:
    """Return all doors that this file says something about."""
    http = {*HTTP_STARTS, *HTTP_LOOKS}
    deciding = {path for _, path in http if path.startswith(("/process", "/payloads"))}
    named = {(method, path) for method, path in http if path not in deciding}
    return {*PUBLIC, *PREFLIGHT, *STARTS, *EXPLAINS, *named, *((ANY_METHOD, path) for path in deciding)}


# The doors there are.


async def list_doors_of(**settings: Any) -> set[Door]:
    """Return the doors of a daemon with these settings."""
    app = create_app(Settings(**settings))
    async with app.lifespan(app._asgi):  # It closes what it has opened.
        return set(list_doors(app._asgi.routes))


async def test_every_door_of_the_router_is_gated_or_has_a_reason_not_to_be(tmp_path: Path) -> None:
    doors = await list_doors_of(**open_all_doors(tmp_path))

    assert doors == known_doors(), "say in this file what guards the new door"


async def test_a_daemon_that_nobody_has_told_otherwise_has_the_terminal_alone() -> None:
    doors = await list_doors_of()

    assert doors == {*PUBLIC, *PREFLIGHT, *STARTS, *EXPLAINS} - {("GET", "/docs"), ("GET", "/openapi.json")}


async def test_below_a_base_path_the_doors_are_the_same(tmp_path: Path) -> None:
    doors = await list_doors_of(**open_all_doors(tmp_path), base_path="/lab/7")

    # Leads to the page; takes no token along.
    assert doors - {("GET", "/lab/7")} == {(method, "/lab/7" + path) for method, path in known_doors()}


async def answer(*_: Any) -> None:
    """Stand for anything that a route may lead to."""


@pytest.mark.parametrize(
    ("added", "door"),
    [
        (Route("/new", answer, methods=["POST"]), ("POST", "/new")),
        (Route("/ws", answer, methods=["DELETE"]), ("DELETE", "/ws")),
        (Route("/new", Starlette()), (ANY_METHOD, "/new")),
        (WebSocketRoute("/new", answer), ("WEBSOCKET", "/new")),
        (Mount("/deep", routes=[Mount("/er", routes=[WebSocketRoute("/new", answer)])]), ("WEBSOCKET", "/deep/er/new")),
        (Mount("/app", Starlette(routes=[Route("/", lambda _: PlainTextResponse(""))])), ("GET", "/app/")),
    ],
)
def test_a_door_that_is_added_without_a_word_in_this_file_is_found(added: BaseRoute, door: Door) -> None:
    doors = set(list_doors([*create_app(Settings())._asgi.routes, added]))

    assert doors - known_doors() == {door}


@pytest.mark.parametrize("added", [Mount("/black-box", answer), Mount("/empty", routes=[])], ids=str)
def test_what_cannot_be_looked_into_is_no_way_past_this_file(added: BaseRoute) -> None:
    with pytest.raises(UnknownRouteError):
        list(list_doors([added]))


# Those without a gate.


@pytest_asyncio.fixture
async def gated(tmp_path: Path) -> AsyncIterator[Gated]:
    async with gated_daemon(tmp_path, **open_all_doors(tmp_path)) as running:
        yield running


def spell(door: Door) -> tuple[str, str]:
    """Return a method and a path that this door answers."""
    method, path = door
    return method, path + "page.js" if path == "/static/" else path


def nothing_happened(daemon: Daemon) -> bool:
    """Tell whether nobody was asked about a token and nothing was started."""
    return not daemon.list_asked() and not list_children() and not count_starts(daemon)


def count_starts(daemon: Daemon) -> float:
    [family] = daemon.app.metrics.starts.collect()
    return sum(sample.value for sample in family.samples if sample.name.endswith("_total"))


@pytest.mark.parametrize("door", PUBLIC, ids=" ".join)
async def test_a_public_door_is_for_our_names_and_pages_and_looks_at_no_token(gated: Gated, door: Door) -> None:
    method, path = spell(door)
    token = gated.sign(jti="once")
    sent = [authorization(token)]

    good = await gated.daemon.request(method, f"{path}?token={STATIC}", *sent)
    foreign_host = await gated.daemon.request(method, path, *sent, host=FOREIGN_HOST)
    foreign_origin = await gated.daemon.request(method, path, *sent, FOREIGN_ORIGIN)
    upgrade = await gated.daemon.knock(path, *sent)

    assert good.status == 200
    assert (foreign_host.status, foreign_host.body) == (403, b"Host not allowed")
    assert (foreign_origin.status, foreign_origin.body) == (403, b"Origin not allowed")
    assert (upgrade.status, upgrade.body) == (404, b"Not Found")
    assert nothing_happened(gated.daemon)
    assert (await gated.daemon.knock("/ws", *sent)).status == 101, "the token is as good as before"


async def test_the_preflight_shares_nothing_and_looks_at_no_token(gated: Gated) -> None:
    reply = await gated.daemon.request("OPTIONS", f"/ws?token={STATIC}", FOREIGN_ORIGIN, authorization(STATIC))

    assert (reply.status, reply.body) == (204, b"")
    assert not [name for name, _ in reply.headers if name.lower().startswith("access-control-")]
    assert nothing_happened(gated.daemon)


# Those with a gate: the kinds of credentials.


every_cell = pytest.mark.parametrize(
    ("name", "way"),
    [pytest.param(name, way, id=f"{name} by {way}") for name, kind in KINDS.items() for way in kind.ways],
)


@every_cell
async def test_a_credential_is_let_in_or_refused_as_its_kind_is(
    gated: Gated, caplog: pytest.LogCaptureFixture, name: str, way: str
) -> None:
    kind = KINDS[name]
    target, headers = send(kind, way, gated)

    with caplog.at_level(logging.INFO, AUDIT_LOGGER):
        reply = await gated.daemon.knock(target, *headers, PROBLEM)
        await until(lambda: not len(gated.daemon.app.registry), "no session")

    [line] = [record.__dict__ for record in caplog.records if record.name == AUDIT_LOGGER]
    assert bool(gated.daemon.list_asked()) == kind.is_asked
    assert line["door"] == "terminal"
    if kind.code:
        assert (reply.status, reply.json()["code"]) == (FAULTS[kind.code].status, kind.code)
        assert (line["decision"], line["reason"]) == ("refused", kind.reason or line["reason"])
        assert not count_starts(gated.daemon)
        assert not list_children()
    else:
        assert reply.status == 101
        assert (line["decision"], line["command"]) == ("granted", "true")
        assert count_starts(gated.daemon) == 1


async def test_on_any_other_server_every_kind_of_credential_counts_alike(tmp_path: Path) -> None:
    async with gated_daemon(tmp_path, "uvicorn") as gated:
        # Plain uvicorn itself gives up on header lines of 8 KiB.
        for name in KINDS.keys() - {"too long"}:
            kind = KINDS[name]
            target, headers = send(kind, kind.ways[-1], gated)
            before = count_starts(gated.daemon)

            reply = await gated.daemon.knock(target, *headers)
            await until(lambda: not len(gated.daemon.app.registry), "no session")

            assert reply.status == (FAULTS[kind.code].status if kind.code else 101), name
            assert count_starts(gated.daemon) - before == (not kind.code), name


@every_cell
async def test_from_a_foreign_page_or_name_no_credential_counts_and_none_is_used_up(
    gated: Gated, name: str, way: str
) -> None:
    kind = KINDS[name]
    target, headers = send(kind, way, gated)

    by_host = await gated.daemon.knock(target, *headers, host=FOREIGN_HOST)
    by_origin = await gated.daemon.knock(target, *headers, FOREIGN_ORIGIN)

    assert (by_host.status, by_host.body) == (403, b"Host not allowed")
    assert (by_origin.status, by_origin.body) == (403, b"Origin not allowed")
    assert nothing_happened(gated.daemon)
    own_page = ("Origin", f"http://{gated.daemon.host}")
    assert (await gated.daemon.knock(target, *headers, own_page)).status == (
        FAULTS[kind.code].status if kind.code else 101
    )


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if not kind.code])
async def test_a_credential_counts_as_often_as_its_kind_says(gated: Gated, name: str) -> None:
    kind = KINDS[name]
    token = kind.make(gated)
    assert token is not None

    replies = [
        await gated.daemon.knock(target, *headers) for target, headers in (send(token) for send in WAYS.values())
    ]

    assert [reply.status for reply in replies] == ([101, 403, 403] if kind.counts_once else [101] * 3)


@pytest.mark.parametrize("ways", list(itertools.combinations(WAYS, 2)), ids=" and ".join)
@pytest.mark.parametrize(
    "names", [("controller", "controller"), ("signed, once", "static"), ("unknown", "signed, once")]
)
async def test_of_two_tokens_neither_counts_and_neither_is_used_up(
    gated: Gated, ways: tuple[str, str], names: tuple[str, str]
) -> None:
    sent = [send(KINDS[name], way, gated) for name, way in zip(names, ways, strict=True)]
    target = max((target for target, _ in sent), key=len)

    reply = await gated.daemon.knock(target, *[header for _, headers in sent for header in headers])

    assert (reply.status, reply.body) == (400, b"Token given more than once")
    assert nothing_happened(gated.daemon)
    for name, (target, headers) in zip(names, sent, strict=True):
        assert (await gated.daemon.knock(target, *headers)).status == (403 if name == "unknown" else 101)


async def test_every_refused_token_gets_the_same_answer_byte_for_byte(gated: Gated) -> None:
    answers = set()
    for kind in KINDS.values():
        if kind.code == "denied":
            for way in kind.ways:
                target, headers = send(kind, way, gated)
                answers.add(_freeze(await gated.daemon.knock(target, *headers)))
                answers.add(_freeze(await gated.daemon.knock(target, *headers)))

    assert len(answers) == 1


def _freeze(reply: Reply) -> tuple[int, tuple[Header, ...], bytes]:
    # When it was, and which request: both are the client's own to know.
    own = ("date", "x-request-id")
    return reply.status, tuple(header for header in reply.headers if header[0].lower() not in own), reply.body


# The door that explains.


@every_cell
async def test_the_door_that_explains_asks_nobody_starts_nothing_and_uses_nothing_up(
    gated: Gated, name: str, way: str
) -> None:
    kind = KINDS[name]
    target, headers = send(kind, way, gated)

    before = await gated.daemon.get(target, *headers, PROBLEM)
    assert nothing_happened(gated.daemon)
    await gated.daemon.knock(target, *headers)
    asked = gated.daemon.list_asked()
    after = await gated.daemon.get(target, *headers, PROBLEM)

    is_token = kind.code not in ("token_missing", "token_malformed", "token_too_long")
    assert before.json()["code"] == ("upgrade_required" if is_token else kind.code)
    assert after.json()["code"] == (kind.code or "upgrade_required")
    assert gated.daemon.list_asked() == asked
    if not kind.code:
        assert count_starts(gated.daemon) == 1


@pytest.mark.parametrize("way", WAYS)
async def test_to_a_foreign_page_or_name_it_explains_nothing(gated: Gated, way: str) -> None:
    target, headers = WAYS[way]("nobody-knows-this-token")
    await gated.daemon.knock(target, *headers)

    by_host = await gated.daemon.get(target, *headers, host=FOREIGN_HOST)
    by_origin = await gated.daemon.get(target, *headers, FOREIGN_ORIGIN)

    assert (by_host.body, by_origin.body) == (b"Host not allowed", b"Origin not allowed")


# Settings of the gate.


async def test_where_a_page_is_required_no_other_client_counts_and_no_token_is_used_up(tmp_path: Path) -> None:
    async with gated_daemon(tmp_path, require_origin=True) as gated:
        own_page = ("Origin", f"http://{gated.daemon.host}")
        for kind in KINDS.values():
            for way in kind.ways:
                target, headers = send(kind, way, gated)
                reply = await gated.daemon.knock(target, *headers)
                assert (reply.status, reply.body) == (403, b"Origin required")
        assert nothing_happened(gated.daemon)

        target, headers = send(KINDS["signed, once"], "header", gated)
        assert (await gated.daemon.knock(target, *headers)).status == 403
        assert (await gated.daemon.knock(target, *headers, own_page)).status == 101


@pytest.mark.parametrize("name", ["static", "signed", "signed, once"])
async def test_who_is_known_at_once_needs_no_controller(tmp_path: Path, name: str) -> None:
    async with gated_daemon(tmp_path, controller_url="http://127.0.0.1:1/") as gated:
        target, headers = send(KINDS[name], "header", gated)

        assert (await gated.daemon.knock(target, *headers)).status == 101
        assert (await gated.daemon.knock("/ws", authorization("unknown"))).status == 503
