"""Results that are read once: by one, wholly, and not before there is somebody to read them."""

import asyncio
import socket
import struct
from pathlib import Path

import httpx
import pytest
from command_daemon import CommandDaemon, becomes_true
from http_daemon import TOKEN

SIZES = [100, 200_000, 3_000_000]
READERS = 8


async def start(commands: CommandDaemon, size: int, script: str = "head -c {} /dev/zero | tr '\\0' x") -> str:
    key = await commands.start("sh", args=[script.format(size)])
    await commands.ends("sh")
    return key


@pytest.mark.parametrize("size", SIZES)
async def test_of_several_that_read_at_once_one_has_it_all_and_none_a_part(
    commands_anywhere: CommandDaemon, size: int
) -> None:
    commands = commands_anywhere
    for _ in range(4):
        key = await start(commands, size)
        answers = await asyncio.gather(*(read(commands, key) for _ in range(READERS)))

        assert sorted(answers) == [0] * (READERS - 1) + [size]


async def read(commands: CommandDaemon, key: str) -> int:
    """Return how much of a report one reader got; 0 for none, or for one that it can tell is not whole."""
    response = await commands.get("sh", key)
    if response.status_code == 404:
        return 0
    assert response.status_code == 200, response.text
    try:
        report = response.json()
    except ValueError:
        return 0
    assert not report["truncated"]
    return len(report["report"])


@pytest.mark.parametrize("size", SIZES)
async def test_who_has_left_takes_nothing_along(commands: CommandDaemon, size: int) -> None:
    key = await start(commands, size)

    for _ in range(10):
        with socket.create_connection(("127.0.0.1", commands.http.port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # close(2) resets.
            head = f"GET /commands/sh?key={key} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
            client.sendall(head.encode())

    async def is_there() -> bool:
        return (await commands.client.head("/commands/sh", params={"key": key})).status_code == 200

    await becomes_true(is_there, "the result")
    assert await read(commands, key) == size


async def test_why_a_command_did_not_start_is_told_once(commands: CommandDaemon) -> None:
    key = await commands.start("missing")
    await commands.ends("missing")

    answers = await asyncio.gather(*(commands.get("missing", key) for _ in range(READERS)))

    assert sorted(answer.status_code for answer in answers) == [400] + [404] * (READERS - 1)


async def test_input_with_the_start_needs_the_right_to_write(commands: CommandDaemon) -> None:
    commands.http.allow("viewer", rights=["start", "view"])
    headers = {"Authorization": "Bearer viewer"}

    async def post(**fields: object) -> httpx.Response:
        return await commands.client.post("/commands/cat", json=fields, headers=headers)

    refused, taken = await post(stdin="typed"), await post(force_unique_key=True)

    assert (refused.status_code, refused.json()["code"]) == (403, "right_missing")
    assert taken.status_code == 202


async def test_a_folder_of_uploads_may_be_left_in_any_state(commands: CommandDaemon, tmp_path: Path) -> None:
    body = (
        b'--frontier\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n'
        b'--frontier\r\nContent-Disposition: form-data; name="request_json"\r\n\r\n'
        b'{"args": ["cd $(dirname $0); for i in $(seq 1200); do mkdir d; cd -P d; done; echo deep", "@f"]}'
        b"\r\n--frontier--\r\n"
    )
    answer = await commands.client.post(
        "/commands/sh", content=body, headers={"Content-Type": "multipart/form-data; boundary=frontier"}
    )

    assert (await commands.report("sh", answer.json()["key"]))["report"] == "deep\n"
    assert await commands.list_uploads() == []
