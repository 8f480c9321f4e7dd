"""Applications that give back every message, one by each way there is."""

from running_server import direct


async def plain_echo(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", **{k: v for k, v in message.items() if k != "type"}})


@direct
async def direct_echo(channel, receive):
    channel.start(channel.send, lambda: None)
    await receive()
