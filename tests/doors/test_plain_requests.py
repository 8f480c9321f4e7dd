"""Requests without an upgrade: why a token was refused, other paths, other methods."""

from typing import Any

import pytest
from daemon import NATIVE, Daemon
from knocking import PROBLEM, Start, authorization, bearer, protocols
from scripted_server import respond

from ws_subprocess.errors import FAULTS


async def test_without_an_upgrade_the_answer_is_426_and_nobody_is_asked(daemon: Daemon) -> None:
    daemon.grant("true")

    reply = await daemon.get("/ws?token=t0ken", PROBLEM)

    assert reply.status == 426
    assert reply.json()["code"] == "upgrade_required"
    assert reply.get("upgrade") == "websocket"
    assert daemon.list_asked() == []


@pytest.mark.parametrize(
    ("code", "answer"),
    [("denied", None), ("controller_error", respond("", "500 X")), ("spawn_failed", {"command": "/x"})],
)
async def test_a_page_may_ask_why_its_token_was_refused(daemon: Daemon, code: str, answer: Any) -> None:
    if answer is not None:
        daemon.grants["t0ken"] = answer
    await daemon.knock("/ws", protocols(NATIVE, bearer(b"t0ken")))

    again = await daemon.get("/ws", PROBLEM, authorization("t0ken"))
    other = await daemon.get("/ws", PROBLEM, authorization("other"))

    assert (again.status, again.json()["code"]) == (FAULTS[code].status, code)
    assert other.status == 426
    assert daemon.list_asked() == ["t0ken"]


async def test_without_an_upgrade_the_other_checks_hold_too(daemon: Daemon) -> None:
    replies = [
        await daemon.get("/ws?token=t0ken", host="evil.example"),
        await daemon.get("/ws?token=t0ken", ("Origin", "http://evil.example")),
        await daemon.get("/ws"),
    ]

    assert [reply.body for reply in replies] == [b"Host not allowed", b"Origin not allowed", b"Token missing"]


@pytest.mark.parametrize(("origin", "is_shared"), [("https://ours.example", True), ("https://evil.example", False)])
async def test_only_pages_of_allowed_origins_may_read_why(start: Start, origin: str, is_shared: bool) -> None:
    daemon = await start(allow_origins=("https://ours.example",))

    reply = await daemon.get("/ws?token=t0ken", ("Origin", origin))

    assert reply.get("access-control-allow-origin") == (origin if is_shared else None)
    assert "Origin" in (reply.get("vary") or "")


# Other paths and methods.


async def test_another_method_is_not_allowed(daemon: Daemon) -> None:
    for path in ("/ws", "/", "/healthz", "/metrics", "/static/page.js"):
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            reply = await daemon.request(method, path, PROBLEM)

            assert (reply.status, reply.json()["code"]) == (405, "method_not_allowed")
            assert "GET" in (reply.get("allow") or "")


@pytest.mark.parametrize(("origin", "is_shared"), [("https://ours.example", True), ("https://evil.example", False)])
async def test_only_pages_of_allowed_origins_may_send_a_header_with_their_question(
    start: Start, origin: str, is_shared: bool
) -> None:
    daemon = await start(allow_origins=("https://ours.example",))
    wish = ("Access-Control-Request-Method", "GET"), ("Access-Control-Request-Headers", "authorization")

    reply = await daemon.request("OPTIONS", "/ws", ("Origin", origin), *wish)

    assert reply.status == 204
    assert reply.get("access-control-allow-origin") == (origin if is_shared else None)
    assert reply.get("access-control-allow-headers") == ("authorization" if is_shared else None)


NOWHERE = [
    "/nope",
    "/ws/",
    "//ws",
    "/WS",
    "/ws/x",
    "/wsx",
    "/static",
    "/static/",
    "/static/no.js",
    "/healthz/",
    "/%77s/",
]


async def test_another_path_is_not_found(daemon: Daemon) -> None:
    for path in NOWHERE:
        text, problem = await daemon.get(path + "?token=t0ken"), await daemon.get(path, PROBLEM)

        assert (text.status, text.body) == (404, b"Not Found"), path
        assert text.get("location") is None
        assert (problem.status, problem.json()["code"]) == (404, "not_found")


async def test_a_websocket_elsewhere_is_not_found(daemon: Daemon) -> None:
    daemon.grant("true")

    for path in (*NOWHERE, "/", "/healthz", "/static/page.js"):
        reply = await daemon.knock(path + "?token=t0ken")
        assert (reply.status, reply.body) == (404, b"Not Found"), path

    assert daemon.list_asked() == []


async def test_below_a_base_path_everything_is_there_and_nothing_elsewhere(start: Start) -> None:
    daemon = await start(base_path="/lab/7")
    daemon.grant("true")

    inside = [await daemon.knock("/lab/7/ws"), await daemon.get("/lab/7/healthz"), await daemon.get("/lab/7/")]
    outside = [await daemon.knock("/ws?token=t0ken"), await daemon.get("/healthz"), await daemon.get("/")]

    assert [reply.status for reply in inside] == [400, 200, 200]
    assert [reply.status for reply in outside] == [404, 404, 404]


async def test_a_base_path_without_its_slash_leads_to_the_page_and_takes_no_token_along(start: Start) -> None:
    daemon = await start(base_path="/lab/7")

    reply = await daemon.get("/lab/7?token=t0ken")

    assert (reply.status, reply.get("location")) == (307, "7/")
