"""What operators ask: health, readiness, figures."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from daemon import NATIVE, Daemon
from observing import until
from starlette.requests import Request

from ws_subprocess.doors.operations import Operations
from ws_subprocess.telemetry import Metrics

Start = Callable[..., Awaitable[Daemon]]


async def read_figures(daemon: Daemon) -> dict[str, float]:
    """Return every sample of /metrics by its name and labels."""
    reply = await daemon.get("/metrics")
    assert reply.status == 200
    assert (reply.get("content-type") or "").startswith("text/plain; version=")
    lines = [line for line in reply.body.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


async def test_it_is_healthy_as_long_as_it_answers(daemon: Daemon) -> None:
    daemon.app.begin_drain()

    reply = await daemon.get("/healthz")

    assert (reply.status, reply.body) == (200, b"ok\n")


async def test_it_is_ready_until_it_drains(daemon: Daemon) -> None:
    before = await daemon.get("/readyz")
    daemon.app.begin_drain()
    after = await daemon.get("/readyz")

    assert (before.status, before.body) == (200, b"ready\n")
    assert (after.status, after.body, after.get("retry-after")) == (503, b"draining\n", "30")


async def test_every_start_end_refusal_error_and_byte_is_counted(daemon: Daemon) -> None:
    daemon.grants["t0ken"] = {"command": "/bin/sh", "args": ["-c", "stty -echo; echo hi; read x; exit 3"], "color": 1}
    async with daemon.open("/ws?token=t0ken", NATIVE) as client:
        await client.hears(b"hi")
        live = await read_figures(daemon)
        await client.send("nonsense")
        await client.send(b"abc\r")
        await client.ends()
    async with daemon.open(daemon.grant("kill -9 $$", token="killed")) as client:
        await client.ends()
    await daemon.knock("/ws?token=denied")
    await daemon.knock("/ws")
    await until(lambda: not len(daemon.app.registry), "no session")

    found = await read_figures(daemon)

    assert live["ws_subprocess_sessions"] == 1
    assert live['ws_subprocess_bytes_total{direction="out"}'] == 4
    expected = {
        "ws_subprocess_sessions": 0,
        'ws_subprocess_sessions_started_total{door="terminal"}': 2,
        'ws_subprocess_sessions_ended_total{cause="exit"}': 1,
        'ws_subprocess_sessions_ended_total{cause="signal"}': 1,
        'ws_subprocess_refusals_total{code="denied"}': 1,
        'ws_subprocess_refusals_total{code="token_missing"}': 1,
        'ws_subprocess_client_errors_total{code="bad_message"}': 1,
        "ws_subprocess_grant_unknown_keys_total": 1,
        'ws_subprocess_bytes_total{direction="in"}': 4,
        'ws_subprocess_bytes_total{direction="out"}': 4,
        "ws_subprocess_start_seconds_count": 2,
    }
    assert {name: found[name] for name in expected} == expected


async def test_nothing_a_client_says_becomes_a_label(daemon: Daemon) -> None:
    await daemon.knock("/ws?token=c4nary")
    await daemon.knock("/c4nary")
    async with daemon.open(daemon.grant("read x"), NATIVE) as client:
        await client.send('{"type":"c4nary"}')
        await client.hears_of("error")

    assert b"c4nary" not in (await daemon.get("/metrics")).body


@pytest.mark.parametrize(
    ("access", "headers", "status"),
    [
        ("loopback", [], 200),
        ("loopback", [("X-Forwarded-For", "10.0.0.7")], 404),
        ("loopback", [("Forwarded", "for=10.0.0.7")], 404),
        ("all", [("X-Forwarded-For", "10.0.0.7")], 200),
        ("off", [], 404),
    ],
)
async def test_figures_are_for_those_who_may_see_them(
    start: Start, access: str, headers: list[tuple[str, str]], status: int
) -> None:
    daemon = await start(metrics=access)

    assert (await daemon.get("/metrics", *headers)).status == status


@pytest.mark.parametrize("client", [("10.0.0.7", 1), ("not an address", 1)])
async def test_figures_are_not_for_other_machines(client: tuple[str, int]) -> None:
    operations = Operations(Metrics(), lambda: False, "loopback")

    reply = await operations.get_metrics(build_request(client))

    assert reply.status_code == 404


async def test_a_client_of_a_unix_socket_is_on_this_machine() -> None:
    operations = Operations(Metrics(), lambda: False, "loopback")

    assert (await operations.get_metrics(build_request(None))).status_code == 200


def build_request(client: Any) -> Request:
    return Request({"type": "http", "method": "GET", "path": "/metrics", "headers": [], "client": client})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
async def test_they_answer_to_our_names_and_pages_alone(daemon: Daemon, path: str) -> None:
    host = await daemon.get(path, host="evil.example")
    origin = await daemon.get(path, ("Origin", "http://evil.example"))

    assert (host.status, host.body) == (403, b"Host not allowed")
    assert (origin.status, origin.body) == (403, b"Origin not allowed")
