"""What a process stream makes of moments that are easily taken for something else."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from http_daemon import TOKEN, HttpDaemon
from process_asking import NDJSON, lines_of, sh

from ws_subprocess.doors.process_request import Form, parse_request
from ws_subprocess.doors.process_stream import ProcessStream
from ws_subprocess.model import Credentials, Grant, LaunchRequest


async def test_somebody_elses_timeout_is_not_taken_for_a_client_that_left(
    start_ours: Callable[..., Awaitable[HttpDaemon]],
) -> None:
    daemon = await start_ours(process_door=True)
    asked = parse_request({"alias": "a", "cmd": "/bin/true"}, Form.RAW, has_body=False)
    wanted = LaunchRequest("process", "127.0.0.1", proposal=asked.proposal, has_tty=False)

    async def receive() -> Any:
        await asyncio.Event().wait()

    async def send(message: Any) -> None:
        pytest.fail(f"sent: {message}")

    def hold(grant: Grant) -> AbstractContextManager[None]:
        raise TimeoutError("a disk that does not answer")

    stream = ProcessStream({"type": "http"}, receive, send, Form.RAW, asked)
    with pytest.raises(ExceptionGroup) as caught:
        await stream.run(daemon.app._launcher, Credentials(TOKEN), wanted, hold)

    assert [str(error) for error in caught.value.exceptions] == ["a disk that does not answer"]


async def test_what_has_exited_in_time_is_not_timed_out_by_what_it_left_behind(
    start_ours: Callable[..., Awaitable[HttpDaemon]],
) -> None:
    daemon = await start_ours(process_door=True)
    # The answer waits a little for more output, because somebody has it still.
    answer = await daemon.client.post("/process", json=sh("sleep 1000 & exit 3", timeout=0.2), headers=NDJSON)

    assert lines_of(answer) == [{"exit": {"code": 3, "signal": None}}]
