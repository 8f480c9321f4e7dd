"""Clients that leave while we wait for something on their behalf: they take up nobody's place any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from starlette.requests import ClientDisconnect, Request


@asynccontextmanager
async def until_client_leaves(request: Request) -> AsyncIterator[None]:
    """Run the block to its end, or until the client has left; then raise ClientDisconnect."""
    patience = asyncio.timeout(None)

    async def listen() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        patience.reschedule(asyncio.get_running_loop().time())

    listener = asyncio.create_task(listen())
    try:
        async with patience:
            yield
    except TimeoutError as exc:
        if patience.expired():
            raise ClientDisconnect from exc
        raise
    finally:
        listener.cancel()
        await asyncio.gather(listener, return_exceptions=True)


@asynccontextmanager
async def while_client_stays(request: Request) -> AsyncIterator[None]:
    """Run the block to its end, or until the client has left: what follows is then for nobody."""
    with suppress(ClientDisconnect):
        async with until_client_leaves(request):
            yield
