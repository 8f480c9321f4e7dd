"""The catalogue's calls of functions: what is none stays within the envelope, no name leads to more than is offered."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from catalogue import Entry, case
from expecting import assert_nothing_ran, variants
from http_asking import expect_answer, post
from http_daemon import HttpDaemon
from observing import until

Start = Callable[..., Awaitable[HttpDaemon]]
VERSIONS = {"/rpc": ("weerpc", 1.1), "/rpc/1.0": ("wrpc", 1.0)}


async def call(daemon: HttpDaemon, function: str, data: Any = None) -> dict[str, Any]:
    """Call a function in weeRPC; return the whole answer."""
    answer = await post(daemon, "/rpc", {"weerpc": 1.1, "function": function, "data": data})
    assert answer.status_code == 200
    told: dict[str, Any] = answer.json()
    return told


@case("HT-32")
@pytest.mark.parametrize("path", VERSIONS)
async def test_what_is_no_call(doors: HttpDaemon, entry: Entry, path: str) -> None:
    assert entry.invariant == "answer in weeRPC form ok:false; only registered names"
    key, number = VERSIONS[path]
    good = {key: number, "function": "list", "data": None}
    names = (
        "__class__",
        "__init__",
        "_find",
        "_held",
        "answer",
        "build_table",
        "list.__class__",
        "",
        "LIST",
        "os.system",
    )
    calls = [
        {name: value for name, value in good.items() if name != key},
        *(good | {key: version} for version in ("2.0", 2.0, "1.1", True, None, [1.1], 1e400, 10**400)),
        {name: value for name, value in good.items() if name != "function"},
        {name: value for name, value in good.items() if name != "data"},
        *(good | {"function": function} for function in (None, 5, ["list"], {"list": 1})),
        *(good | {"function": name} for name in names),
        *({}, None, 0, False, "list", 7, True),
    ]

    with variants() as variant:
        for value in calls:
            with variant(repr(value)[:200]):
                # Python writes what JSON cannot say; Infinity is refused as no JSON.
                answer = await post(doors, path, json.dumps(value).encode())
                assert answer.status_code == entry.wants("http").status
                told = answer.json()
                assert (told[key], told["ok"], told["data"]) == (number, False, None)
                assert told["message"]

    assert doors.questions == []
    assert_nothing_ran(doors)


@case("HT-32")
async def test_a_call_in_the_other_language_that_is_none(doors: HttpDaemon, entry: Entry) -> None:
    good = {"jsonrpc": "2.0", "method": "list", "id": 1}
    codes = {
        "version": (good | {"jsonrpc": "1.1"}, -32600),
        "version a number": (good | {"jsonrpc": 2.0}, -32600),
        "no method": ({"jsonrpc": "2.0", "id": 1}, -32600),
        "private": (good | {"method": "_find"}, -32601),
        "__class__": (good | {"method": "__class__"}, -32601),
        "rpc.": (good | {"method": "rpc.discover"}, -32601),
    }

    with variants() as variant:
        for name, (value, code) in codes.items():
            with variant(name):
                answer = await post(doors, "/rpc", value)
                assert answer.status_code == entry.wants("http").status
                assert answer.json()["error"]["code"] == code

    assert doors.questions == []
    assert_nothing_ran(doors)


@case("HT-33")
async def test_more_calls_than_a_batch_may_have(open_doors: Start, entry: Entry) -> None:
    doors = await open_doors(max_body_bytes=64 * 1024 * 1024)
    one = json.dumps({"jsonrpc": "2.0", "method": "list"}).encode()

    with variants() as variant:
        for count in (51, 10_000):
            with variant(f"{count} calls"):
                expect_answer(entry, await post(doors, "/rpc", b"[" + b",".join([one] * count) + b"]"))
        with variant("a million calls"):
            answer = await post(doors, "/rpc", b"[" + b",".join([one] * 1_000_000) + b"]")
            assert answer.status_code == entry.wants("http", "a million calls").status
            assert answer.json()["error"]["code"] == -32700

    assert doors.questions == []
    assert_nothing_ran(doors)


@case("HT-33")
async def test_a_million_calls_are_more_than_a_body_may_hold(doors: HttpDaemon, entry: Entry) -> None:
    expect_answer(entry, await post(doors, "/rpc", b"[" + b"1," * 999_999 + b"1]"))

    assert doors.questions == []


@case("HT-33")
async def test_a_batch_within_a_batch(doors: HttpDaemon, entry: Entry) -> None:
    start = {"jsonrpc": "2.0", "method": "start", "id": 1}

    with variants() as variant:
        for value in ([[start]], [[[start]]], [[]], [[start], [start]]):
            with variant(value):
                answer = await post(doors, "/rpc", value)
                assert answer.status_code == entry.wants("http", "nested").status
                assert {told["error"]["code"] for told in answer.json()} == {-32600}

    assert doors.questions == []
    assert_nothing_ran(doors)


@case("HT-39")
async def test_an_end_for_a_session_that_is_none(doors: HttpDaemon, entry: Entry) -> None:
    wanted = entry.wants("http")
    assert entry.invariant == "idempotent"
    doors.allow(command="/bin/sh", args=["-c", "exec sleep 1000"])
    session = (await call(doors, "start", {"tty": False}))["data"]["session"]
    kill = {"session": session, "signal": "KILL"}

    with variants() as variant:
        for unknown in ("nobody", "", session[:-1], session + "0", session.upper() + "x", "../" + session):
            with variant(f"unknown {unknown}"):
                told = await call(doors, "signal", kill | {"session": unknown})
                assert (told["ok"], told["data"]["code"]) == (False, wanted.code)
    assert (await call(doors, "signal", kill))["ok"]
    await until(lambda: not len(doors.app.registry), "the session's end")

    twice = [await call(doors, "signal", kill) for _ in range(3)]

    assert {told["data"]["code"] for told in twice} == {entry.wants("http", "twice").code}
    assert (await call(doors, "wait", {"session": session}))["data"]["signal"] == "KILL"
    other = await doors.client.post(
        "/rpc",
        json={"weerpc": 1.1, "function": "signal", "data": kill},
        headers=httpx.Headers({"Authorization": "Bearer somebody-else"}),
    )
    assert other.json()["data"]["code"] == "denied", "to others it tells nothing about sessions"
