"""Requests that are refused before anybody is asked: the status and text of PROTOCOL.md, and nothing started."""

import asyncio

import pytest
from daemon import NATIVE, Daemon
from knocking import PROBLEM, Start, authorization, bearer, expect, held_controller, protocols
from observing import list_children, until

BAD_REQUESTS: list[tuple[str, str, list[tuple[str, str]]]] = [
    ("token_missing", "/ws", []),
    ("token_missing", "/ws?token=", []),
    ("token_missing", "/ws?Token=t0ken", []),
    ("token_missing", "/ws?rows=24&cols=80", []),
    ("token_missing", "/ws", [protocols(NATIVE)]),
    ("token_ambiguous", "/ws?token=a&token=b", []),
    ("token_ambiguous", "/ws?token=a&token=a", []),
    ("token_ambiguous", "/ws?token=t0ken", [authorization("t0ken")]),
    ("token_ambiguous", "/ws?token=t0ken", [protocols(NATIVE, bearer(b"t0ken"))]),
    ("token_ambiguous", "/ws", [authorization("t0ken"), protocols(NATIVE, bearer(b"t0ken"))]),
    ("token_ambiguous", "/ws", [protocols(bearer(b"a"), bearer(b"b"))]),
    ("token_ambiguous", "/ws", [authorization("a"), authorization("b")]),
    ("token_malformed", "/ws?token=%FF", []),
    ("token_malformed", "/ws", [protocols(NATIVE, "bearer.")]),
    ("token_malformed", "/ws", [protocols(NATIVE, "bearer.a")]),
    ("token_malformed", "/ws", [protocols(NATIVE, "bearer.a+b~")]),
    ("token_missing", "/ws", [("Authorization", "Basic dTpw")]),
    ("token_malformed", "/ws", [("Authorization", "Bearer a\tb")]),
    ("token_malformed", "/ws", [protocols(NATIVE, bearer(b"\xff"))]),
    ("token_malformed", "/ws", [("Authorization", "Bearer")]),
    ("token_malformed", "/ws", [("Authorization", "Bearer a b")]),
    ("bad_size", "/ws?token=t0ken&rows=2001", []),
    ("bad_size", "/ws?token=t0ken&rows=-1", []),
    ("bad_size", "/ws?token=t0ken&cols=80.5", []),
    ("bad_size", "/ws?token=t0ken&cols=", []),
    ("bad_size", "/ws?token=t0ken&cols=0x50", []),
    ("bad_size", "/ws?token=t0ken&cols=%D9%A1", []),
    ("bad_size", "/ws?token=t0ken&rows=24&rows=24", []),
    ("bad_size", "/ws?token=t0ken&rows=" + "9" * 5000, []),
]


@pytest.mark.parametrize("server", ["ours"], indirect=True)
@pytest.mark.parametrize(("code", "path", "headers"), BAD_REQUESTS, ids=lambda value: ascii(value)[:60])
async def test_a_request_that_cannot_be_used_is_refused_and_nobody_is_asked(
    daemon: Daemon, code: str, path: str, headers: list[tuple[str, str]]
) -> None:
    daemon.grant("true")

    await expect(daemon, code, path, *headers)

    assert daemon.list_asked() == []
    assert not list_children()


@pytest.mark.parametrize("server", ["uvicorn"], indirect=True)
async def test_on_any_other_server_they_are_refused_alike(daemon: Daemon) -> None:
    for code, path, headers in BAD_REQUESTS:
        await expect(daemon, code, path, *headers)

    assert daemon.list_asked() == []


# Plain uvicorn itself gives up on header lines of 8 KiB and more.
@pytest.mark.parametrize("server", ["ours"], indirect=True)
@pytest.mark.parametrize(("path", "headers"), [("/ws?token=", []), ("/ws", [authorization("x")])], ids=str)
async def test_a_token_may_have_8192_bytes_and_not_one_more(
    daemon: Daemon, path: str, headers: list[tuple[str, str]]
) -> None:
    def lengthen(size: int) -> tuple[str, list[tuple[str, str]]]:
        longer = [(name, value[:-1] + "x" * size) for name, value in headers]
        return (path if longer else path + "x" * size), longer

    path_at_limit, headers_at_limit = lengthen(8192)
    path_above, headers_above = lengthen(8193)

    await expect(daemon, "denied", path_at_limit, *headers_at_limit)
    await expect(daemon, "token_too_long", path_above, *headers_above)

    assert daemon.list_asked() == ["x" * 8192] * 2


async def test_what_is_wrong_with_a_request_is_told_in_a_problem(daemon: Daemon) -> None:
    reply = await daemon.knock("/ws?token=t0ken&rows=2001", PROBLEM)

    assert reply.json()["detail"] == "rows: '2001' is not in 0..2000"


# Hosts and origins.


@pytest.mark.parametrize("host", ["attacker.example", "127.0.0.1.nip.io", "localhost.attacker.example", ""])
async def test_a_foreign_host_is_refused_whatever_its_origin(daemon: Daemon, host: str) -> None:
    daemon.grant("true")

    await expect(daemon, "host_denied", "/ws?token=t0ken", ("Origin", f"http://{host}"), host=host)

    assert daemon.list_asked() == []


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://ours.example.evil.io",
        "https://evilours.example",
        "https://ours.example@evil.io",
        "https://oursXexample",
        "https://ours.example.",
        "http://ours.example",
        "http://127.0.0.1",
        "file://",
    ],
)
async def test_a_page_of_another_origin_is_refused(start: Start, origin: str) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    daemon.grant("true")

    await expect(daemon, "origin_denied", "/ws?token=t0ken", ("Origin", origin))

    assert daemon.list_asked() == []


@pytest.mark.parametrize("origin", ["https://ours.example", "https://OURS.example:443", None])
async def test_a_page_of_an_allowed_origin_is_let_in(start: Start, origin: str | None) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    own = f"http://{daemon.host}"

    reply = await daemon.knock(daemon.grant("true"), ("Origin", origin or own))

    assert reply.status == 101
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_two_origins_are_no_origin(daemon: Daemon) -> None:
    own = ("Origin", f"http://{daemon.host}")

    reply = await daemon.knock(daemon.grant("true"), own, own)

    # The servers themselves refuse this, each in its own words.
    assert reply.status == 400
    assert daemon.list_asked() == []


async def test_the_checks_run_in_their_order_so_that_a_doomed_request_costs_no_token(daemon: Daemon) -> None:
    """Each step mends what the one before it was refused for."""
    foreign, own = ("Origin", "http://evil.example"), ("Origin", f"http://{daemon.host}")
    daemon.app.begin_drain()

    await expect(daemon, "host_denied", "/ws?rows=x", foreign, host="evil.example")
    await expect(daemon, "origin_denied", "/ws?rows=x", foreign)
    await expect(daemon, "draining", "/ws?rows=x", own)
    daemon.app.registry.is_draining = False
    await expect(daemon, "token_missing", "/ws?rows=x", own)
    await expect(daemon, "bad_size", "/ws?token=t0ken&rows=x", own)
    assert daemon.list_asked() == []
    await expect(daemon, "denied", "/ws?token=t0ken", own)

    assert daemon.list_asked() == ["t0ken", "t0ken"]


# Room.


async def test_a_full_daemon_refuses_before_it_asks_and_says_when_to_come_back(start: Start) -> None:
    daemon = await start(max_sessions=1)
    async with daemon.open(daemon.grant("sleep 1000")) as client:
        reply = await expect(daemon, "too_many_sessions", "/ws?token=other")
        assert reply.get("retry-after") == "5"
        await client.connection.close()
    await until(lambda: not len(daemon.app.registry), "no session")

    async with daemon.open(daemon.grant("true")) as client:
        assert await client.ends() == (1000, "")
    assert daemon.list_asked() == ["t0ken", "t0ken"]


async def test_a_draining_daemon_refuses_before_it_asks_and_says_when_to_come_back(daemon: Daemon) -> None:
    daemon.app.begin_drain()

    reply = await expect(daemon, "draining", daemon.grant("true"))

    assert reply.get("retry-after") == "30"
    assert daemon.list_asked() == []


async def test_a_launch_that_was_under_way_when_draining_began_starts_nothing(daemon: Daemon) -> None:
    """Else a session would begin after all others were told to end."""
    with held_controller(daemon) as release:
        knocking = asyncio.ensure_future(daemon.knock(daemon.grant("true")))
        await until(daemon.list_asked, "the question")
        daemon.app.begin_drain()
        release()

        reply = await knocking

    assert (reply.status, reply.body) == (503, b"Server is shutting down")
    assert not list_children()
