"""How often something may happen. Pure: the time is an argument."""

from collections import OrderedDict


class TokenBucket:
    """Allows `burst` events at once and `rate_per_s` in the long run."""

    __slots__ = ("_burst", "_rate_per_s", "_tokens", "_updated_at_s")

    def __init__(self, rate_per_s: float, burst: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = float(burst)
        self._updated_at_s = 0.0

    def allows(self, now_s: float) -> bool:
        """Count one event at `now_s` (seconds of a monotonic clock) and tell whether it is within the rate."""
        elapsed_s = now_s - self._updated_at_s
        self._updated_at_s = now_s
        self._tokens = min(self._burst, self._tokens + elapsed_s * self._rate_per_s)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class RateTable:
    """A bucket for each key, for the `keys_max` keys that were last seen; who is forgotten begins anew."""

    def __init__(self, rate_per_s: float, burst: int, keys_max: int) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._keys_max = keys_max
        self._buckets: OrderedDict[str, TokenBucket] = OrderedDict()

    def allows(self, key: str, now_s: float) -> bool:
        """Count one event of `key` and tell whether it is within the rate."""
        bucket = self._buckets.get(key)
        if bucket is None:
            bucket = self._buckets[key] = TokenBucket(self._rate_per_s, self._burst)
            if len(self._buckets) > self._keys_max:
                self._buckets.popitem(last=False)
        self._buckets.move_to_end(key)
        return bucket.allows(now_s)
