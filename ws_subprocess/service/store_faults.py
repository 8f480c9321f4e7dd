"""What clients are told when the database or the disk of jobs cannot be used."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager

from ws_subprocess.errors import BridgeError
from ws_subprocess.store.errors import StoreError

_RETRY_AFTER_S = 5


@contextmanager
def reporting() -> Iterator[None]:
    """Turn errors of the block into BridgeError `no_space` (507) or `store_unavailable` (503)."""
    try:
        yield
    except StoreError as exc:
        raise BridgeError("no_space" if exc.is_full else "store_unavailable", str(exc), _RETRY_AFTER_S) from exc
    except OSError as exc:
        code = "no_space" if exc.errno in (errno.ENOSPC, errno.EDQUOT) else "store_unavailable"
        raise BridgeError(code, str(exc), _RETRY_AFTER_S) from exc
