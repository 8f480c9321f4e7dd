"""Serving: sockets, HTTP and websocket connections, signals and drain. The only home of uvicorn and websockets."""
