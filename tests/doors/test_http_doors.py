"""Every door that takes commands over HTTP x every kind of credential: who is let in, who is asked, what is used up.

That each of these doors is known to `http_doors`, `test_auth_matrix` makes sure.
"""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from credential_kinds import KINDS, Kind
from gated_daemon import STATIC, Gated, gated_daemon
from http_doors import HTTP_LOOKS, HTTP_STARTS, Ask, Door, open_all_doors
from observing import list_children, until
from test_auth_matrix import count_starts, nothing_happened

from ws_subprocess.errors import FAULTS
from ws_subprocess.service.audit import AUDIT_LOGGER

GATED = {**HTTP_STARTS, **HTTP_LOOKS}
PROBLEM = {"Accept": "application/problem+json"}
JSON = "application/json"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND")
# A query and a subprotocol send no token to these doors; plain text in a header cannot be all that a query can.
BY_HEADER = {name: kind for name, kind in KINDS.items() if "header" in kind.ways}
NO_TOKEN = ("token_missing", "token_malformed", "token_too_long")

every_door = pytest.mark.parametrize("door", GATED, ids=" ".join)
every_start = pytest.mark.parametrize("door", HTTP_STARTS, ids=" ".join)


@pytest_asyncio.fixture
async def gated(tmp_path: Path) -> AsyncIterator[Gated]:
    async with gated_daemon(tmp_path, **open_all_doors(tmp_path)) as running:
        yield running


async def send(gated: Gated, door: Door, token: str | None, *, content: bytes | None = None, **headers: str) -> Any:
    """Send a door's good request, or that with other content, and return the answer."""
    ask, lines = GATED[door], dict(headers)
    if token is not None:
        lines["Authorization"] = f"Bearer {token}".rstrip()
    async with httpx.AsyncClient(base_url=f"http://{gated.daemon.host}", trust_env=False, timeout=10) as client:
        return await client.request(
            door[0], ask.path, content=ask.content if content is None else content,
            headers={**PROBLEM, **ask.headers, **lines},
        )  # fmt: skip


def read_code(ask: Ask, response: httpx.Response) -> str:
    """Return the code of a refusal, "" for an answer that is none."""
    if response.headers.get("content-type") == "application/problem+json":
        return str(response.json()["code"])
    if ask.tells_inside and response.status_code == 200:
        told = response.json()
        return "" if told["ok"] else str(told["data"]["code"])
    return ""


def expect_code(kind: Kind, ask: Ask) -> tuple[int, str]:
    """Return status and code that a kind of credential meets at a door."""
    is_hidden = ask.hides and kind.code not in NO_TOKEN and FAULTS[kind.code or "denied"].status == 403
    if not kind.code or is_hidden:
        return ask.status, "" if ask.status < 400 else "job_unknown"
    code = "unauthorized" if kind.code == "token_missing" else kind.code
    is_inside = ask.tells_inside and kind.code not in NO_TOKEN
    return 200 if is_inside else FAULTS[code].status, code


# The kinds of credentials.


@every_start
async def test_a_credential_starts_something_or_nothing_as_its_kind_is(
    gated: Gated, caplog: pytest.LogCaptureFixture, door: Door
) -> None:
    ask = HTTP_STARTS[door]
    for name, kind in BY_HEADER.items():
        gated.daemon.controller.requests.clear()
        caplog.clear()
        before = count_starts(gated.daemon)
        token = kind.make(gated)

        with caplog.at_level(logging.INFO, AUDIT_LOGGER):
            response = await send(gated, door, token)
            if not kind.code:
                await until(lambda: count_starts(gated.daemon) == before + 1, f"{name}: a start")  # noqa: B023
            await until(lambda: not len(gated.daemon.app.registry), "no session")

        assert (response.status_code, read_code(ask, response)) == expect_code(kind, ask), name
        assert bool(gated.daemon.list_asked()) == kind.is_asked, name
        assert count_starts(gated.daemon) - before == (not kind.code), name
        lines = [vars(record) for record in caplog.records if record.name == AUDIT_LOGGER]
        assert {line["door"] for line in lines} == {door[1].split("/")[1]}, name
        assert {line["decision"] for line in lines} == ({"refused"} if kind.code else {"granted"}), name
        assert not kind.reason or lines[-1]["reason"] == kind.reason, name


@pytest.mark.parametrize("door", HTTP_LOOKS, ids=" ".join)
async def test_a_credential_sees_something_or_nothing_as_its_kind_is_and_starts_nothing(
    gated: Gated, door: Door
) -> None:
    ask = HTTP_LOOKS[door]
    for name, kind in BY_HEADER.items():
        gated.daemon.controller.requests.clear()

        response = await send(gated, door, kind.make(gated))

        assert (response.status_code, read_code(ask, response)) == expect_code(kind, ask), name
        assert bool(gated.daemon.list_asked()) == kind.is_asked, name

    assert not count_starts(gated.daemon)
    assert not list_children()


@every_door
async def test_without_a_token_the_answer_says_how_to_send_one(gated: Gated, door: Door) -> None:
    for query in ("", "token=" + STATIC):
        ask = GATED[door]
        url = ask.path + ("&" if "?" in ask.path else "?") + query
        async with httpx.AsyncClient(base_url=f"http://{gated.daemon.host}", trust_env=False) as client:
            headers = {**PROBLEM, **ask.headers}
            response = await client.request(door[0], url, content=ask.content, headers=headers)

        assert (response.status_code, response.json()["code"]) == (401, "unauthorized")
        assert response.headers["www-authenticate"] == "Bearer"
    assert nothing_happened(gated.daemon)


@every_start
async def test_a_refused_token_gets_the_same_answer_whatever_is_wrong_with_it(gated: Gated, door: Door) -> None:
    answers = set()
    for kind in BY_HEADER.values():
        if kind.code == "denied":
            response = await send(gated, door, kind.make(gated))
            problem = {name: value for name, value in response.json().items() if name != "request_id"}
            kept = sorted(
                item for item in response.headers.items() if item[0] not in ("date", "x-request-id", "content-length")
            )
            answers.add((response.status_code, json.dumps(problem), tuple(kept)))

    assert len(answers) == 1


# What uses no token up.


@every_door
async def test_from_a_foreign_page_or_name_nothing_counts_and_no_token_is_used_up(gated: Gated, door: Door) -> None:
    token = gated.sign(jti="once")

    by_host = await send(gated, door, token, Host="evil.example")
    by_origin = await send(gated, door, token, Origin="https://evil.example")
    by_null = await send(gated, door, token, Origin="null")

    assert [response.json()["code"] for response in (by_host, by_origin, by_null)] == [
        "host_denied", "origin_denied", "origin_denied",
    ]  # fmt: skip
    assert nothing_happened(gated.daemon)
    good = await send(gated, door, token, Origin=f"http://{gated.daemon.host}")
    assert (good.status_code, read_code(GATED[door], good)) == expect_code(KINDS["static"], GATED[door])


@every_door
async def test_a_path_that_is_spelled_otherwise_leads_nowhere_and_no_token_is_used_up(gated: Gated, door: Door) -> None:
    """A proxy's rules for `/process` do not see `/%70rocess`."""
    ask, token = GATED[door], gated.sign(jti="once")
    spelled = f"/%{ord(ask.path[1]):02x}{ask.path[2:]}"
    async with httpx.AsyncClient(trust_env=False) as client:
        # As it is: httpx itself would spell it right.
        url = httpx.URL(f"http://{gated.daemon.host}").copy_with(raw_path=spelled.encode())
        headers = {**PROBLEM, **ask.headers, "Authorization": f"Bearer {token}"}
        response = await client.request(door[0], url, content=ask.content, headers=headers)

    missing = (501, "not_implemented") if ask.path == "/process" else (404, "not_found")
    assert (response.status_code, response.json()["code"]) == missing
    assert nothing_happened(gated.daemon)
    assert (await gated.daemon.knock(f"/ws?token={token}")).status == 101, "the token is as good as before"


@every_start
async def test_a_request_that_is_none_uses_no_token_up(gated: Gated, door: Door) -> None:
    token, ask = gated.sign(jti="once"), HTTP_STARTS[door]

    bad = [
        await send(gated, door, token, content=b"{"),
        await send(gated, door, token, content=b"[" * 100_000),
        await send(gated, door, token, content=b"7", **{"Content-Type": JSON}),
        await send(gated, door, token, **{"Content-Encoding": "gzip"}),
        await send(gated, door, token, content=b" " * (1024 * 1024 + 1), **{"Content-Type": JSON}),
    ]

    assert [response.status_code for response in bad[3:]] == [415, 413]
    assert [200 if ask.tells_inside else 400] * 3 == [response.status_code for response in bad[:3]]
    assert nothing_happened(gated.daemon)
    assert (await send(gated, door, token)).status_code == ask.status
    again = await send(gated, door, token)
    assert read_code(ask, again) == "denied", "and then it has counted"


@every_start
async def test_a_draining_daemon_starts_nothing_and_uses_no_token_up(gated: Gated, door: Door) -> None:
    token, ask = gated.sign(jti="once"), HTTP_STARTS[door]
    gated.daemon.app.begin_drain()

    response = await send(gated, door, token)

    assert read_code(ask, response) == "draining"
    assert nothing_happened(gated.daemon)


@pytest.mark.parametrize("path", sorted({path for _, path in GATED}))
async def test_a_method_that_a_door_has_not_does_nothing_and_uses_no_token_up(gated: Gated, path: str) -> None:
    known = {method for method, other in GATED if other == path}
    known |= {"HEAD"} if "GET" in known else set()
    ask = next(ask for (_, other), ask in GATED.items() if other == path)
    token = gated.sign(jti="once")
    async with httpx.AsyncClient(base_url=f"http://{gated.daemon.host}", trust_env=False) as client:
        for method in METHODS:
            if method not in known:
                response = await client.request(method, ask.path, headers={"Authorization": f"Bearer {token}"})
                assert response.status_code == (501 if path == "/process" else 405), method
                if path != "/process":
                    assert set(response.headers["allow"].split(", ")) == known, method

    assert nothing_happened(gated.daemon)
    assert (await gated.daemon.knock(f"/ws?token={token}")).status == 101, "the token is as good as before"


@every_door
async def test_where_a_page_is_required_no_other_client_counts(tmp_path: Path, door: Door) -> None:
    async with gated_daemon(tmp_path, **open_all_doors(tmp_path), require_origin=True) as gated:
        token = gated.sign(jti="once")

        response = await send(gated, door, token)
        own = await send(gated, door, token, Origin=f"http://{gated.daemon.host}")

        assert (response.status_code, response.json()["code"]) == (403, "origin_required")
        assert own.status_code == GATED[door].status
