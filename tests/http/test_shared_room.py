"""What many clients together may take before the gate knows them, and what it costs a token to meet no room."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from command_daemon import CommandDaemon, becomes_true, run_command_daemon
from http_daemon import BEARER, HttpDaemon, RawConnection

from ws_subprocess.doors.bodies import ROOM_BYTES, BodyRoom
from ws_subprocess.doors.command_starts import UPLOADS_PER_ADDRESS_MAX
from ws_subprocess.errors import CapacityError

Start = Callable[..., Awaitable[HttpDaemon]]
StartCommands = Callable[..., Awaitable[CommandDaemon]]

MIB = 1024 * 1024
PROBLEM = {"accept": "application/problem+json"}
FORM = {"content_type": "multipart/form-data; boundary=frontier", "content_length": "1000"}
FILE = (
    b'--frontier\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n%s\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="request_json"\r\n\r\n{"args": ["@f"]}\r\n--frontier--\r\n'
)


@asynccontextmanager
async def sending(daemon: HttpDaemon, count: int, body: bytes) -> AsyncIterator[list[RawConnection]]:
    """Send so many bodies that do not end, one byte short, with a token that is good for nothing."""
    async with AsyncExitStack() as stack:
        connections = [await stack.enter_async_context(daemon.raw()) for _ in range(count)]
        for connection in connections:
            length = str(len(body) + 1)
            connection.send("POST", "/payloads", body, content_length=length, authorization="Bearer x")
            await connection.writer.drain()
        yield connections


async def test_bodies_that_are_being_read_have_one_bound_together(start_ours: Start, tmp_path: Path) -> None:
    daemon = await start_ours(payloads_door=True, state_dir=str(tmp_path), body_timeout_s=30)
    large = {"cmd": "true", "params": ["x" * 20_000]}
    small = {"cmd": "true", "params": []}

    async with sending(daemon, ROOM_BYTES // MIB + 1, b" " * (MIB - 1)) as connections:
        refused, _ = await asyncio.wait(
            [asyncio.ensure_future(connection.read_status()) for connection in connections],
            return_when=asyncio.FIRST_COMPLETED,
        )
        for late in _:
            late.cancel()
        while_full = [(await daemon.client.post("/payloads", json=fields)).status_code for fields in (large, small)]

    assert [task.result() for task in refused] == [503]
    assert while_full == [503, 201]

    async def is_taken() -> bool:
        return (await daemon.client.post("/payloads", json=large)).status_code == 201

    await becomes_true(is_taken, "room again")


def test_room_is_given_back_whatever_became_of_a_body() -> None:
    room = BodyRoom(100_000)
    with room.hold() as first, room.hold() as second:
        first(60_000)
        second(16_384)
        with pytest.raises(CapacityError):
            second(60_000)

    with room.hold() as grow:
        grow(100_000)


async def test_one_address_cannot_take_all_places_for_uploads(tmp_path: Path) -> None:
    async with run_command_daemon(tmp_path, "uvicorn", trusted_proxies=("127.0.0.1",)) as commands:
        await _take_all_places_of_one_address(commands)


async def _take_all_places_of_one_address(commands: CommandDaemon) -> None:
    async def count() -> bool:
        return len(await commands.list_uploads()) == UPLOADS_PER_ADDRESS_MAX

    async with AsyncExitStack() as stack:
        for _ in range(UPLOADS_PER_ADDRESS_MAX):
            connection = await stack.enter_async_context(commands.http.raw())
            connection.send("POST", "/commands/cat", b"--frontier\r\n", x_forwarded_for="203.0.113.9", **FORM)

        async def is_full() -> bool:
            return len(await commands.list_uploads()) == UPLOADS_PER_ADDRESS_MAX

        await becomes_true(is_full, "all places of one address taken")
        answers = [
            await commands.client.post(
                "/commands/cat",
                content=FILE % b"x",
                headers={"Content-Type": FORM["content_type"], "X-Forwarded-For": address},
            )
            for address in ("203.0.113.9", "203.0.113.10")
        ]

    assert [answer.status_code for answer in answers] == [503, 202]
    assert answers[0].json()["code"] == "queue_full"


async def test_uploads_that_are_more_than_may_be_kept_are_refused_and_gone(start_commands: StartCommands) -> None:
    commands = await start_commands(spool_bytes=MIB)
    headers = {"Content-Type": FORM["content_type"], "Accept": "application/problem+json"}

    answer = await commands.client.post("/commands/cat", content=FILE % (b"x" * (MIB + 1)), headers=headers)

    assert (answer.status_code, answer.json().get("code")) == (507, "no_space"), answer.text
    assert await commands.list_uploads() == []
    assert (await commands.run("echo", args=["room"]))["report"] == "room\n"


async def test_a_token_is_not_used_up_for_a_job_that_there_is_no_room_for(start_http: Start, tmp_path: Path) -> None:
    daemon = await start_http(
        payloads_door=True, state_dir=str(tmp_path), token_once=True, max_jobs_running=1, max_jobs_waiting=1
    )
    for token in ("first", "second", "third"):
        daemon.allow(token)

    async def post(token: str, cmd: str, *params: str) -> int:
        headers = BEARER | {"Authorization": f"Bearer {token}"} | PROBLEM
        answer = await daemon.client.post("/payloads", json={"cmd": cmd, "params": params}, headers=headers)
        return answer.status_code

    assert [await post("first", "sleep", "60"), await post("second", "sleep", "60")] == [201, 201]
    assert [await post("third", "true"), await post("third", "true")] == [503, 503]
    await daemon.app.jobs.stop((await daemon.app.jobs._store.list_live())[1]["id"])
    assert await post("third", "true") == 201


async def test_a_token_is_not_used_up_for_a_session_beyond_a_share(start_http: Start, tmp_path: Path) -> None:
    state = str(tmp_path)
    daemon = await start_http(rpc_door=True, state_dir=state, token_once=True, max_sessions_per_principal=1)
    for token in ("first", "second"):
        daemon.allow(token, principal="ann")

    async def call(token: str, function: str, **data: object) -> dict[str, object]:
        body = {"weerpc": 1.1, "function": function, "data": data}
        answer = await daemon.client.post("/rpc", json=body, headers={"Authorization": f"Bearer {token}"})
        found: dict[str, object] = answer.json()
        return found

    first = await call("first", "start", command="/bin/sleep", args=["60"])
    refused = [await call("second", "start", command="/bin/true") for _ in range(2)]
    assert first["ok"], first
    assert isinstance(first["data"], dict)
    session = first["data"]["session"]
    await call("first", "signal", session=session, signal="KILL")
    await call("first", "wait", session=session, timeout_s=5)
    later = await call("second", "start", command="/bin/true")

    assert [answer["ok"] for answer in refused] == [False, False]
    assert refused[0]["message"] == refused[1]["message"]
    assert later["ok"], later
