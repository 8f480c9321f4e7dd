"""One address that knocks too often is told to come back later, and costs nobody else anything."""

import pytest
from daemon import Daemon
from knocking import Start, expect

from ws_subprocess.rate import RateTable

PER_SECOND = 2
# Ten times as many at once.
BURST = 20
REMOTE = "203.0.113.7"


@pytest.fixture
async def limited(start: Start) -> Daemon:
    """A daemon behind a proxy that says who knocks."""
    return await start(max_handshakes_per_address=PER_SECOND, trusted_proxies=("127.0.0.1",))


def coming_from(address: str) -> tuple[str, str]:
    return ("X-Forwarded-For", address)


async def use_up(daemon: Daemon, address: str) -> None:
    """Knock until it is too often: at latest some knocks after the burst, for time goes on."""
    for _ in range(2 * BURST):
        if (await daemon.knock("/ws?token=wrong", coming_from(address))).status == 429:
            return
    pytest.fail("no knock was one too many")


async def test_who_knocks_too_often_is_told_when_to_come_back(limited: Daemon) -> None:
    await use_up(limited, REMOTE)

    reply = await expect(limited, "too_many_handshakes", "/ws?token=wrong", coming_from(REMOTE))

    assert reply.get("retry-after") == "1"


async def test_a_knock_too_many_does_not_reach_the_controller_nor_start_anything(limited: Daemon) -> None:
    path = limited.grant("sleep 1000")
    await use_up(limited, REMOTE)
    asked = len(limited.list_asked())

    reply = await limited.knock(path, coming_from(REMOTE))

    assert reply.status == 429
    assert len(limited.list_asked()) == asked
    assert "t0ken" not in limited.list_asked()
    assert len(limited.app.registry) == 0


async def test_the_burst_is_for_everybody_anew(limited: Daemon) -> None:
    path = limited.grant("true")
    await use_up(limited, REMOTE)

    assert (await limited.knock(path, coming_from("203.0.113.8"))).status == 101


async def test_all_addresses_of_one_ipv6_network_are_one(limited: Daemon) -> None:
    path = limited.grant("true")
    for number in range(2 * BURST):
        last = await limited.knock("/ws?token=wrong", coming_from(f"2001:db8:0:1::{number:x}"))

    assert last.status == 429
    assert (await limited.knock(path, coming_from("2001:db8:0:2::1"))).status == 101


async def test_asking_why_counts_as_knocking(limited: Daemon) -> None:
    """Else tokens could be tried there without a limit."""
    for _ in range(2 * BURST):
        last = await limited.get("/ws?token=wrong", coming_from(REMOTE))

    assert last.status == 429


@pytest.mark.parametrize("local", ["127.0.0.1", "127.3.2.1", "::1"])
async def test_this_machine_may_knock_as_often_as_it_likes(limited: Daemon, local: str) -> None:
    """A proxy here that nobody told us to trust may speak for many."""
    for _ in range(2 * BURST):
        last = await limited.knock("/ws?token=wrong", coming_from(local))

    assert last.status == 403


async def test_without_a_limit_nobody_is_told_to_come_back(start: Start) -> None:
    daemon = await start(max_handshakes_per_address=0, trusted_proxies=("127.0.0.1",))

    for _ in range(2 * BURST):
        last = await daemon.knock("/ws?token=wrong", coming_from(REMOTE))

    assert last.status == 403


async def test_a_header_from_somebody_who_is_no_proxy_changes_nothing(start: Start) -> None:
    daemon = await start(max_handshakes_per_address=PER_SECOND, trusted_proxies=("192.0.2.1",))

    for _ in range(2 * BURST):
        last = await daemon.knock("/ws?token=wrong", coming_from(REMOTE))

    assert last.status == 403


async def test_sessions_of_one_ipv6_network_share_its_sessions(start: Start) -> None:
    daemon = await start(max_sessions_per_address=1, trusted_proxies=("127.0.0.1",))
    path = daemon.grant("sleep 1000")
    headers = dict([coming_from("2001:db8:0:1::1")])

    async with daemon.open(path, additional_headers=headers) as client:
        await expect(daemon, "too_many_sessions_user", path, coming_from("2001:db8:0:1::2"))
        await client.connection.close()


def test_no_more_addresses_are_remembered_than_allowed() -> None:
    table = RateTable(1, 1, keys_max=3)

    assert [table.allows(key, 0.0) for key in "abc"] == [True] * 3
    assert not table.allows("a", 0.0)
    assert table.allows("d", 0.0)
    assert not table.allows("c", 0.0)
    # "b" was seen longest ago and is forgotten, so it begins anew.
    assert table.allows("b", 0.0)
    assert not table.allows("d", 0.0)


def test_the_rate_is_that_of_the_long_run() -> None:
    table = RateTable(2, 20, keys_max=10)

    allowed = sum(table.allows("a", second / 100) for second in range(10_000))

    assert allowed == pytest.approx(20 + 2 * 100, abs=2)
