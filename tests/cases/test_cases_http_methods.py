"""The catalogue's methods that a door has not: each is told which there are, and does nothing."""

import asyncio

import pytest
from catalogue import Entry, case
from daemon import read_reply
from expecting import assert_nobody_was_asked, assert_nothing_ran, expect_http, variants
from http_asking import PROBLEM
from http_daemon import HttpDaemon

METHODS = ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PUT", "PROPFIND")
READ = {"GET", "HEAD"}
# What each route has.
ROUTES: dict[str, set[str]] = {
    "/process": {"POST"},
    "/commands/echo": {*READ, "POST", "DELETE"},
    "/commands/echo/output": READ,
    "/commands/echo/input": {"POST"},
    "/commands/echo/jobs": READ,
    "/payloads": {*READ, "POST"},
    "/payloads/x": {*READ, "DELETE"},
    "/payloads/x/output": READ,
    "/rpc": {"POST"},
    "/rpc/1.0": {"POST"},
    "/ws": {*READ, "OPTIONS"},
    "/": READ,
    "/docs": READ,
    "/openapi.json": READ,
    "/healthz": READ,
    "/readyz": READ,
    "/metrics": READ,
    "/static/page.js": READ,
}


@case("HT-34")
@pytest.mark.parametrize("path", ROUTES)
async def test_a_method_that_a_door_has_not(doors: HttpDaemon, entry: Entry, path: str) -> None:
    with variants() as variant:
        for method in METHODS:
            if method in ROUTES[path]:
                continue
            with variant(method):
                async with doors.raw() as connection:
                    connection.send(method, path, content_length="", connection="close", accept=PROBLEM["Accept"])
                    async with asyncio.timeout(10):
                        reply = await read_reply(connection.reader, has_body=method != "HEAD")
                if method == "CONNECT":
                    expect_http(entry, reply, variant="CONNECT")
                    continue
                kind = "process" if path == "/process" else ""
                if method == "HEAD":
                    assert (reply.status, reply.body) == (entry.wants("http", kind).status, b"")
                else:
                    expect_http(entry, reply, variant=kind)
                if not kind:
                    assert set((reply.get("allow") or "").split(", ")) == ROUTES[path]

    assert "Allow header right" in entry.invariant
    assert_nobody_was_asked(doors)
    assert_nothing_ran(doors)


@case("HT-34")
async def test_head_is_get_without_the_body(doors: HttpDaemon, entry: Entry) -> None:
    entry.wants("ok", "HEAD")
    doors.allow()

    with variants() as variant:
        for path, methods in ROUTES.items():
            if "HEAD" not in methods or path == "/metrics":
                continue
            with variant(path):
                head = await doors.client.head(path, headers=PROBLEM)
                got = await doors.client.get(path, headers=PROBLEM)
                assert (head.status_code, head.content) == (got.status_code, b"")
                assert head.headers["content-type"] == got.headers["content-type"]

    assert_nothing_ran(doors)
