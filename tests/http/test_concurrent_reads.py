"""A thousand requests at a time, each for a job of its own: nobody reads another's.

The payload handlers' own daemon shared one response between its threads: 27 of 1500 requests got somebody else's.
"""

import asyncio
import json
import random
import resource
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio
from every_door import EveryDoor, run_every_door
from http_daemon import WAIT_S, HttpDaemon

READS = 1000
JOBS = 25


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow both ends of every connection, which are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * READS + 512
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted if hard < 0 else min(wanted, hard)), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest_asyncio.fixture
async def doors(server: str, tmp_path: Path, many_descriptors: None) -> AsyncIterator[EveryDoor]:
    async with run_every_door(tmp_path, server) as running:
        yield running


async def start_payload(client: httpx.AsyncClient, number: int) -> str:
    answer = await client.post("/payloads", json={"cmd": "/bin/echo", "params": [f"payload {number}"]})
    return f"/payloads/{answer.json()['id']}"


async def start_command(client: httpx.AsyncClient, number: int) -> str:
    answer = await client.post("/commands/echo", json={"args": [f"command {number}"], "retention": "keep"})
    return f"/commands/echo?key={answer.json()['key']}"


async def read(daemon: HttpDaemon, path: str) -> dict[str, Any]:
    """Ask on a connection of its own: httpx does not put a thousand requests on the way at once."""
    async with daemon.raw() as connection:
        connection.send("GET", path, connection="close", content_length="")
        head = await connection.read_head()
        body = await connection.reader.read()
    assert head.split()[1] == "200", head
    told: dict[str, Any] = json.loads(body)
    return told


async def test_a_thousand_concurrent_reads_return_each_its_own_job(doors: EveryDoor) -> None:
    client = doors.http.client
    expected = {}
    for number in range(JOBS):
        expected[await start_payload(client, number)] = f"payload {number}\n"
        expected[await start_command(client, number)] = f"command {number}\n"
    for path in expected:
        where, _, query = path.partition("?")
        await client.get(f"{where}/output?wait=true&{query}")
        if query:
            await client.get(f"{path}&wait=true")
        else:
            await becomes_finished(client, path)
    reads = [path for path in expected for _ in range(READS // len(expected))]
    random.Random(1).shuffle(reads)

    found = await asyncio.gather(*(read(doors.http, path) for path in reads))

    assert len(found) == READS
    for path, told in zip(reads, found, strict=True):
        assert (told.get("output") or told.get("report")) == expected[path]
        assert (told.get("id") or told["key"]) in path


async def becomes_finished(client: httpx.AsyncClient, path: str) -> None:
    async with asyncio.timeout(WAIT_S):
        while (await client.get(path)).json()["status"] != "finished":  # noqa: ASYNC110 - it has no way to wait
            await asyncio.sleep(0.01)
