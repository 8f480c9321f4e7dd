"""What functions of `ws_subprocess.rpc` may do: return, raise, block, wait; and what comes of it."""

import asyncio
import sys
import threading
from typing import Any

import pytest
from observing import until
from rpc_serving import JSON, add_numbers, logged, serving

from ws_subprocess.rpc import RPCRequest, RPCResponse, current_request

SECRET = "s3cret in the exception"


@pytest.mark.parametrize("value", [0, False, "", [], {}, 0.0])
async def test_falsy_data_survives(value: Any) -> None:
    """Flask-RPC turned it into null."""
    functions = {
        "good": lambda _: RPCResponse.success(value, ""),
        "bad": lambda _: RPCResponse.fail("sorry", value),
    }
    async with serving(functions=functions) as client:
        assert await client.call("good") == {"weerpc": 1.1, "ok": True, "message": "", "data": value}
        assert await client.call("bad") == {"weerpc": 1.1, "ok": False, "message": "sorry", "data": value}


def raise_error(data: Any) -> Any:
    raise ValueError(SECRET)


def leave(data: Any) -> Any:
    sys.exit(SECRET)


async def raise_on_loop(data: Any) -> Any:
    raise ValueError(SECRET)


async def time_out(data: Any) -> Any:
    raise TimeoutError(SECRET)


@pytest.mark.parametrize("function", [raise_error, leave, raise_on_loop, time_out])
async def test_what_a_function_raises_is_logged_and_stays_in_the_envelope(function: Any) -> None:
    """Flask-RPC answered 500 with a page."""
    with logged() as records:
        async with serving(functions={"f": function}) as client:
            response = await client.post(b'{"weerpc": 1.1, "function": "f", "data": 1}')

    assert response.status_code == 200
    assert response.json() == {"weerpc": 1.1, "ok": False, "message": "Internal error.", "data": None}
    assert SECRET not in response.text
    (record,) = [record for record in records if record.exc_info]
    assert SECRET in str(record.exc_info[1])


@pytest.mark.parametrize("value", [object(), {1, 2}, float("nan"), RPCResponse.success(b"bytes")])
async def test_what_is_no_json_stays_in_the_envelope(value: Any) -> None:
    async with serving(functions={"f": lambda _: value}) as client:
        assert await client.tell(RPCRequest.build("f")) == "Internal error."


async def test_a_function_that_blocks_runs_beside_the_loop() -> None:
    threads: list[threading.Thread] = []
    held, free = threading.Event(), threading.Event()

    def block(data: Any) -> Any:
        threads.append(threading.current_thread())
        held.set()
        return free.wait(10)

    async with serving(functions={"block": block, "add_numbers": add_numbers}) as client:
        blocked = asyncio.ensure_future(client.call("block"))
        await until(held.is_set, "the function began")
        assert (await client.call("add_numbers", [1]))["data"] == 1
        free.set()
        assert (await blocked)["data"] is True

    assert threads[0] is not threading.main_thread()


async def test_an_async_function_runs_on_the_loop() -> None:
    async def which(data: Any) -> Any:
        await asyncio.sleep(0)
        return threading.current_thread() is threading.main_thread()

    async with serving(functions={"which": which}) as client:
        assert (await client.call("which"))["data"] is True


async def test_a_function_that_returns_something_to_await_is_awaited() -> None:
    async def add(data: Any) -> Any:
        return sum(data)

    async with serving(functions={"add": lambda data: add(data)}) as client:
        assert (await client.call("add", [1, 2]))["data"] == 3


async def test_a_function_has_its_time_and_no_more() -> None:
    async def wait_for_ever(data: Any) -> None:
        await asyncio.Event().wait()

    async with serving(functions={"wait": wait_for_ever}, timeout_s=0.05) as client:
        assert await client.tell(RPCRequest.build("wait")) == "The function took too long."


async def test_a_thread_is_taken_until_its_function_returns_and_what_waits_too_long_never_begins() -> None:
    begun: list[Any] = []
    free = threading.Event()

    def block(data: Any) -> Any:
        begun.append(data)
        return free.wait(10)

    async with serving(functions={"block": block}, timeout_s=0.1, max_threads=1) as client:
        assert await client.tell(RPCRequest.build("block", "first")) == "The function took too long."
        assert await client.tell(RPCRequest.build("block", "second")) == "The function took too long."
        free.set()
        assert (await client.call("block", "third"))["data"] is True

    assert begun == ["first", "third"]


async def test_a_function_goes_on_when_its_client_has_left() -> None:
    held, free, done = threading.Event(), threading.Event(), threading.Event()

    def work(data: Any) -> Any:
        held.set()
        free.wait(10)
        done.set()
        return "too late"

    async with serving(functions={"work": work, "add_numbers": add_numbers}) as client:
        leaving = asyncio.ensure_future(client.call("work"))
        await until(held.is_set, "the function began")
        leaving.cancel()
        await asyncio.wait((leaving,))
        free.set()
        await until(done.is_set, "the function ended")

        assert (await client.call("add_numbers", [1]))["data"] == 1


async def test_the_request_can_be_had_on_a_thread() -> None:
    async with serving(functions={"agent": lambda _: current_request().headers["user-agent"]}) as client:
        assert (await client.call("agent"))["data"] == client.http.headers["user-agent"]


def test_outside_of_a_function_there_is_no_request() -> None:
    with pytest.raises(LookupError):
        current_request()


async def test_a_body_beyond_its_bound_is_refused_by_its_declared_length() -> None:
    async with serving(max_body_bytes=1024) as client:
        response = await client.post(b"[" + b" " * 2000 + b"]", {**JSON, "Accept": "application/json"})

    assert response.status_code == 413
    assert response.json()["code"] == "too_big"


async def test_a_body_that_never_ends_is_given_up() -> None:
    head = b"POST /rpc HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n["
    async with serving(body_timeout_s=0.05) as client, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.http.base_url.port)
        writer.write(head)
        status = await reader.readline()
        writer.close()

    assert status.startswith(b"HTTP/1.1 408 ")
