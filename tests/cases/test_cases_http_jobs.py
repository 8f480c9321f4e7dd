"""The catalogue's requests about jobs: where they call back to, how they are ended, and who waits for them."""

import asyncio
import ipaddress
from collections.abc import Sequence
from typing import Any

import pytest
from catalogue import Entry, case
from expecting import Audit, assert_nothing_ran, count_starts, variants
from http_asking import PROBLEM, expect_answer, post
from http_daemon import HttpDaemon
from observing import becomes_true, until
from scripted_server import respond, scripted

from ws_subprocess.auth.outgoing import Outgoing, OutgoingRules, UndeliveredError
from ws_subprocess.errors import FAULTS


async def get(daemon: HttpDaemon, path: str, **query: str) -> Any:
    return await daemon.client.get(path, params=query, headers=PROBLEM)


async def no_job_was_made(doors: HttpDaemon) -> None:
    """Fail when a refused callback left a job, or somebody whom the gate refuses learned what is wrong with his."""
    assert (await get(doors, "/commands/echo/jobs")).json()["jobs"] == []
    assert_nothing_ran(doors)
    body = {"callback_url": "https://127.0.0.1/"}
    stranger = await post(doors, "/commands/echo", body, Authorization="Bearer nobody-knows-this-token")
    assert stranger.json()["code"] == "denied"


# Callbacks.


@case("HT-24")
async def test_a_callback_of_another_scheme(doors: HttpDaemon, audit: Audit, entry: Entry) -> None:
    urls = ("file:///etc/passwd", "gopher://example.com/", "ftp://example.com/", "data:text/plain,x", "unix:/run/x",
            "javascript:0", "//example.com/", "example.com", "HTTP://example.com/", "https:example.com")  # fmt: skip

    with variants() as variant:
        for url in urls:
            with variant(url):
                expect_answer(entry, await post(doors, "/commands/echo", {"callback_url": url}), audit=audit)

    await no_job_was_made(doors)


@case("HT-25")
async def test_a_callback_that_leads_inside(doors: HttpDaemon, entry: Entry) -> None:
    hosts = ("127.0.0.1", "[::1]", "0.0.0.0", "[::]", "0x7f000001", "2130706433", "127.1", "017700000001",
             "[::ffff:169.254.169.254]", "169.254.169.254", "[fd00::1]", "[fe80::1%25lo]", "user@example.com",
             "user:pass@example.com", "example.com:22", "10.0.0.1", "192.168.0.1", "100.64.0.1", "localhost",
             "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "224.0.0.1")  # fmt: skip

    with variants() as variant:
        for scheme in ("https", "http"):
            for host in hosts:
                with variant(f"{scheme} {host}"):
                    body = {"callback_url": f"{scheme}://{host}/latest/meta-data"}
                    expect_answer(entry, await post(doors, "/commands/echo", body))

    await no_job_was_made(doors)


@case("HT-25")
async def test_a_callback_whose_name_leads_elsewhere_a_moment_later(entry: Entry) -> None:
    entry.wants("http")
    assert entry.invariant == "check the RESOLVED address, connect to that very address"
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.2"]])

    async def rebind(host: str, port: int) -> Sequence[str]:
        return next(answers)

    async with scripted(respond("ok")) as server:
        rules = OutgoingRules(b"k" * 32, ports=frozenset({server.port}), http_hosts=frozenset({"hooks.example"}))
        outgoing = Outgoing(rules, resolve=rebind)
        url = f"http://hooks.example:{server.port}/"
        await outgoing.check(url)
        with pytest.raises(UndeliveredError):
            await outgoing.post(url, b"{}", "id", 1)
        assert server.connections == 0

        answers = iter([["127.0.0.1"], ["93.184.216.34"]])
        inside = OutgoingRules(
            b"k" * 32,
            ports=rules.ports,
            http_hosts=rules.http_hosts,
            networks=(ipaddress.ip_network("127.0.0.0/8"),),
        )
        await Outgoing(inside, resolve=rebind).post(url, b"{}", "id", 1)
        assert server.connections == 1, "to the address that was looked at; nobody looked again"


# Ends.


async def make_command(daemon: HttpDaemon, *args: str) -> tuple[str, dict[str, str]]:
    started = await post(daemon, "/commands/sh", {"args": args, "retention": "keep"})
    return "/commands/sh", {"key": started.json()["key"]}


async def make_payload(daemon: HttpDaemon, *args: str) -> tuple[str, dict[str, str]]:
    started = await post(daemon, "/payloads", {"cmd": "/bin/sh", "params": ["-c", *args]})
    return f"/payloads/{started.json()['id']}", {}


MAKERS = {"commands": make_command, "payloads": make_payload}


@case("HT-29")
@pytest.mark.parametrize("door", MAKERS)
async def test_an_end_that_comes_too_late(doors: HttpDaemon, entry: Entry, door: str) -> None:
    path, query = await MAKERS[door](doors, "echo hi")

    async def has_ended() -> bool:
        found = (await get(doors, path, **query)).json()
        return found.get("end_time") is not None or found.get("ended_at") is not None

    await becomes_true(has_ended, "the end")

    first = await doors.client.delete(path, params=query, headers=PROBLEM)
    assert (first.status_code, first.content) == (entry.wants("http", "finished").status, b"")
    for again in (await doors.client.delete(path, params=query, headers=PROBLEM), await get(doors, path, **query)):
        expect_answer(entry, again, "twice")
    assert "404" in entry.invariant


@case("HT-29")
async def test_input_for_a_job_that_has_ended(doors: HttpDaemon, entry: Entry) -> None:
    path, query = await make_command(doors, "echo hi")
    assert (await get(doors, path, wait="true", **query)).json()["returncode"] == 0

    answer = await doors.client.post(f"{path}/input", params=query, content=b"x", headers=PROBLEM)

    expect_answer(entry, answer)


# Those who wait.


@case("HT-30")
async def test_a_time_to_wait_that_is_none(doors: HttpDaemon, entry: Entry) -> None:
    path, query = await make_command(doors, "sleep 1000")

    with variants() as variant:
        for timeout in ("-1", "1e9", "0", "", "x", "NaN", "inf", "9" * 400, "1e-3", "\u0661", "0x10", "1,5"):
            with variant(timeout):
                expect_answer(entry, await get(doors, path, wait="true", timeout=timeout, **query))
    assert (await get(doors, path, wait="true", timeout="0.01", **query)).json()["status"] == "running"
    await doors.client.delete(path, params=query)


@case("HT-30")
async def test_more_that_wait_than_may(doors: HttpDaemon, entry: Entry) -> None:
    wanted = entry.wants("http", "10 000 waiters")
    assert entry.invariant == "waiters bounded"
    path, query = await make_command(doors, "sleep 1000")
    jobs = doors.app.jobs
    job = await jobs.find("commands", "sh", query["key"])
    assert job is not None
    crowd = [asyncio.ensure_future(jobs.wait(job.id, 60)) for _ in range(10_000)]
    await until(lambda: jobs._waiters == len(crowd), "the crowd")

    answer = await get(doors, path, wait="true", **query)
    unhurried = await get(doors, path, **query)
    await doors.client.delete(path, params=query)

    assert (answer.status_code, answer.json()["code"]) == (wanted.status, wanted.code)
    assert int(answer.headers["retry-after"]) > 0
    assert unhurried.json()["status"] == "running", "who does not wait is served"
    await asyncio.gather(*crowd, return_exceptions=True)
    assert jobs._waiters == 0


# Once and no more.


@case("HT-40")
@pytest.mark.parametrize("change", [{"args": ["y"]}, {"timeout": 7}, {"stdin": "x"}, {"priority": -1}], ids=str)
async def test_a_name_for_a_request_that_was_another_one_before(
    doors: HttpDaemon, audit: Audit, entry: Entry, change: dict[str, Any]
) -> None:
    body = {"args": ["x"], "retention": "keep"}
    once = {"Idempotency_Key": "order-1"}

    first = await post(doors, "/commands/echo", body, **once)
    again = await post(doors, "/commands/echo", body, **once)
    other = await post(doors, "/commands/echo", body | change, **once)

    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["key"] == again.json()["key"]
    expect_answer(entry, other, audit=audit)
    assert (await get(doors, "/commands/echo", key=first.json()["key"], wait="true")).json()["report"] == "x\n"
    assert count_starts(doors) == 1  # type: ignore[arg-type]
    assert FAULTS["idempotency_conflict"].status == entry.wants("http").status
