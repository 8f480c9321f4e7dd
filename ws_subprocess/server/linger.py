"""Ends a connection so that the last words written to it arrive.

Law: closing a TCP socket while bytes of the peer are unread makes the kernel send a reset, and a reset may overtake or
destroy what was written before. So: flush, send the end of stream, read and discard until the peer ends too, and only
then close; within a time limit.
"""

import asyncio


def linger(transport: asyncio.Transport, former: asyncio.Protocol, timeout_s: float) -> None:
    """End `transport`, whose last bytes are written, within `timeout_s`; `former` hears of `connection_lost` alone."""
    if transport.is_closing():
        return
    transport.set_protocol(_Farewell(transport, former, timeout_s))
    transport.resume_reading()
    if transport.can_write_eof():
        transport.write_eof()
    else:
        # TLS has no half-close that all clients understand; close_notify goes out after the flush.
        transport.close()


class _Farewell(asyncio.Protocol):
    """Discards what arrives until the peer ends the stream or the time is up."""

    def __init__(self, transport: asyncio.Transport, former: asyncio.Protocol, timeout_s: float) -> None:
        self._former = former
        self._deadline = asyncio.get_running_loop().call_later(timeout_s, transport.abort)

    def data_received(self, data: bytes) -> None:
        """Discard."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Hand the news to the protocol that served the connection before."""
        self._deadline.cancel()
        self._former.connection_lost(exc)
