"""Approved commands in a browser tab: a websocket, a token, a controller, a process on a PTY."""

__version__ = "0.1.0"
