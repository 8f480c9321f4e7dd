"""Which results are kept no longer: those whose time is over, then the oldest of too many, or of too much output.

Law: jobs that wait or work are never among them.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ws_subprocess.store.spool import Spool

if TYPE_CHECKING:
    # Who only runs terminals should not wait for SQLAlchemy.
    from ws_subprocess.store.jobs import JobStore

_GROUP = 200
_SMALL_GROUP = 10


class Retainer:
    """Forgets results.

    Args:
        most: Results that are kept.
    """

    def __init__(self, store: "JobStore", spool: Spool, most: int) -> None:
        self._store = store
        self._spool = spool
        self._most = most

    async def forget_surplus(self, now: float) -> None:
        """Forget what is kept too long, too many and too much. Raises StoreError."""
        while expired := await self._store.find_expired(now, _GROUP):
            await self._forget(expired)
        surplus = await self._store.count_ended() - self._most
        while surplus > 0:
            oldest = await self._store.find_oldest_ended(min(surplus, _GROUP))
            if not oldest:
                break  # Clients were faster.
            await self._forget(oldest)
            surplus -= len(oldest)
        # Below the bound, so that there is room for the next.
        while self._spool.used_bytes > self._spool.most_bytes // 8 * 7:
            largest = await self._store.find_oldest_ended(_SMALL_GROUP, has_output=True)
            if not largest:
                return
            await self._forget(largest)

    async def _forget(self, jobs: Sequence[str]) -> None:
        # The rows first: output without a row is removed at the next start, a row without output would lie.
        await self._store.delete(jobs)
        await self._spool.remove(jobs)
