"""Keeps what must not be logged out of the logs of the libraries that see it.

Law: no record of uvicorn or websockets holds a query string, because tokens stand there, nor bytes of a session.
"""

import logging
import re

_LOGGERS = ("uvicorn", "uvicorn.error", "uvicorn.access", "uvicorn.asgi", "websockets", "websockets.server")
_QUERY = re.compile(r"\?[^\s\"']+")
# Said of every client that sends rubbish: nothing a person could act on.
_NOISE = frozenset(
    (
        "Invalid HTTP request received.",
        "Unsupported upgrade request.",
        "ASGI callable returned without completing handshake.",
    )
)


def quiet_foreign_logs() -> None:
    """Let warnings and errors of uvicorn and websockets pass, without queries and without noise. Idempotent."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        # Not only for silence: at DEBUG websockets logs every frame.
        logger.setLevel(logging.WARNING)
        if not any(isinstance(known, _Scrubber) for known in logger.filters):
            logger.addFilter(_Scrubber())


class _Scrubber(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if message in _NOISE:
            return False
        record.msg = _QUERY.sub("?[removed]", message)
        record.args = None
        return True
