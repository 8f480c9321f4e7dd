"""Limits from the settings to what a client meets; what is refused for want of room uses no token up."""

import asyncio
import time
from pathlib import Path
from typing import Any

import pytest
from daemon import NATIVE, Client, Daemon
from gated_daemon import GRANT, gated_daemon
from knocking import Start, authorization, expect, held_controller
from observing import until

KIB = 1024


@pytest.fixture
def server() -> str:
    """Limits are the same under every server."""
    return "ours"


async def all_have_ended(daemon: Daemon) -> None:
    await until(lambda: not len(daemon.app.registry), "no session")


# Sessions.


async def test_max_sessions_per_address_refuses_before_anybody_is_asked(start: Start) -> None:
    daemon = await start(max_sessions_per_address=1)
    async with daemon.open(daemon.grant("echo ready; exec sleep 1000")) as client:
        await client.hears(b"ready")

        reply = await expect(daemon, "too_many_sessions_user", daemon.grant("true", token="other"))

        assert (reply.status, reply.get("retry-after")) == (429, "5")
        assert daemon.list_asked() == ["t0ken"]
    await all_have_ended(daemon)
    assert (await daemon.knock("/ws?token=other")).status == 101


async def test_max_sessions_per_principal_refuses_that_principal_alone(start: Start) -> None:
    daemon = await start(max_sessions_per_principal=1)
    daemon.grants["hers"] = {**GRANT, "principal": "ada"}
    daemon.grants["his"] = {**GRANT, "principal": "alan"}
    daemon.grants["nobodys"] = GRANT
    async with daemon.open(daemon.grant("echo ready; exec sleep 1000", principal="ada")) as client:
        await client.hears(b"ready")

        reply = await expect(daemon, "too_many_sessions_user", "/ws?token=hers")

        assert (reply.status, reply.get("retry-after")) == (429, "5")
        assert (await daemon.knock("/ws?token=his")).status == 101
        assert (await daemon.knock("/ws?token=nobodys")).status == 101
    await all_have_ended(daemon)
    assert (await daemon.knock("/ws?token=hers")).status == 101


@pytest.mark.parametrize(
    ("limit", "code"),
    [
        ({"max_sessions": 1}, "too_many_sessions"),
        ({"max_sessions_per_address": 1}, "too_many_sessions_user"),
        ({"max_sessions_per_principal": 1}, "too_many_sessions_user"),
    ],
    ids=str,
)
async def test_who_finds_no_room_keeps_a_token_that_counts_once(
    tmp_path: Path, limit: dict[str, Any], code: str
) -> None:
    async with gated_daemon(tmp_path, token_once=True, **limit) as gated:
        daemon, once = gated.daemon, gated.sign(jti="once")
        gated.allow("controllers", principal="ada")
        waiting = gated.sign(command="/bin/cat")
        async with daemon.open("/ws", NATIVE, additional_headers=dict([authorization(waiting)])) as client:
            await client.hears_of("hello")
            for token in (once, "controllers"):
                await expect(daemon, code, "/ws", authorization(token))
        await all_have_ended(daemon)

        for token in (once, "controllers"):
            assert (await daemon.knock("/ws", authorization(token))).status == 101
            await all_have_ended(daemon)
            assert (await daemon.knock("/ws", authorization(token))).status == 403


async def test_a_daemon_that_drains_uses_no_token_up(tmp_path: Path) -> None:
    async with gated_daemon(tmp_path) as gated:
        token = authorization(gated.sign(jti="once"))
        gated.daemon.app.begin_drain()
        await expect(gated.daemon, "draining", "/ws", token)
        gated.daemon.app.registry.is_draining = False

        assert (await gated.daemon.knock("/ws", token)).status == 101


# The controller.


async def test_controller_max_questions_lets_the_others_wait_and_then_tells_them_to_come_back(start: Start) -> None:
    daemon = await start(controller_max_questions=1, controller_timeout_s=0.5)
    with held_controller(daemon):
        first = asyncio.ensure_future(daemon.knock(daemon.grant("true", token="first")))
        await until(daemon.list_asked, "the first question")
        second = asyncio.ensure_future(daemon.knock(daemon.grant("true", token="second")))

        replies = await asyncio.gather(first, second)

    assert [(reply.status, reply.body) for reply in replies] == [
        (504, b"Controller timeout"),
        (503, b"Controller busy"),
    ]
    assert replies[1].get("retry-after") is not None
    assert daemon.list_asked() == ["first"]


# Signed tokens.


@pytest.mark.parametrize(("late_s", "status"), [(50, 101), (70, 403)])
async def test_jwt_leeway_s_is_how_late_a_signed_token_may_come(tmp_path: Path, late_s: int, status: int) -> None:
    now = int(time.time())
    async with gated_daemon(tmp_path, jwt_leeway_s=60.0) as gated:
        token = gated.sign(iat=now - late_s - 10, exp=now - late_s)

        assert (await gated.daemon.knock("/ws", authorization(token))).status == status


@pytest.mark.parametrize(("early_s", "status"), [(50, 101), (70, 403)])
async def test_jwt_leeway_s_is_how_early_a_signed_token_may_come(tmp_path: Path, early_s: int, status: int) -> None:
    now = int(time.time())
    async with gated_daemon(tmp_path, jwt_leeway_s=60.0) as gated:
        token = gated.sign(iat=now + early_s, exp=now + early_s + 10)

        assert (await gated.daemon.knock("/ws", authorization(token))).status == status


@pytest.mark.parametrize(("lifetime_s", "status"), [(120, 101), (121, 403)])
async def test_jwt_max_lifetime_s_is_how_long_a_signed_token_may_live(
    tmp_path: Path, lifetime_s: int, status: int
) -> None:
    now = int(time.time())
    async with gated_daemon(tmp_path, jwt_max_lifetime_s=120.0) as gated:
        token = gated.sign(iat=now, exp=now + lifetime_s)

        assert (await gated.daemon.knock("/ws", authorization(token))).status == status


# A session's buffers.


async def test_ring_bytes_is_how_much_of_the_output_is_kept(start: Start) -> None:
    daemon = await start(ring_bytes=256 * KIB, window_bytes=128 * KIB)
    script = "head -c 1000000 /dev/zero; echo done; exec sleep 1000"
    async with daemon.open(daemon.grant(script, tty=False), NATIVE) as client:
        await hears_all(client, 1_000_005)
        [session] = daemon.app.registry

        assert (session.ring.start, session.ring.end) == (1_000_005 - 256 * KIB, 1_000_005)


async def hears_all(client: Client, size: int) -> None:
    """Receive that many bytes of output of pipes, and acknowledge them."""
    client.acknowledges = False
    received = 0
    while received < size:
        await client.take()
        received = sum(len(frame) - 1 for frame in client.frames if isinstance(frame, bytes))
        await client.acknowledge(received)


async def test_input_bytes_is_how_much_input_is_taken_that_the_command_has_not_read(start: Start) -> None:
    limit, message, pipe = 64 * KIB, bytes(16 * KIB), 64 * KIB
    daemon = await start(input_bytes=limit)
    async with daemon.open(daemon.grant("echo ready; exec sleep 1000", tty=False), NATIVE) as client:
        await client.hears_of("hello")
        [session] = daemon.app.registry
        sending = asyncio.ensure_future(send_for_ever(client, message))
        await until(lambda: session.input_bytes >= limit, "as much as it takes")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await sending

        assert session.input_bytes <= limit + pipe + len(message)
        assert (await daemon.get("/healthz")).status == 200
        client.connection.transport.abort()
    await all_have_ended(daemon)


async def send_for_ever(client: Client, message: bytes) -> None:
    while True:
        await client.send(message)
