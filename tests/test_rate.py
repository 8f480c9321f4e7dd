"""How often something may happen, in all and for each key."""

from ws_subprocess.rate import RateTable, TokenBucket


def test_a_burst_passes_at_once_and_then_only_the_rate() -> None:
    bucket = TokenBucket(10, burst=3)

    assert [bucket.allows(100.0) for _ in range(5)] == [True, True, True, False, False]
    assert [bucket.allows(100.125), bucket.allows(100.125)] == [True, False]


def test_waiting_saves_no_more_than_a_burst() -> None:
    bucket = TokenBucket(10, burst=3)
    bucket.allows(100.0)

    assert [bucket.allows(900.0) for _ in range(4)] == [True, True, True, False]


def test_each_key_has_its_own_bucket() -> None:
    table = RateTable(1, burst=1, keys_max=10)

    assert table.allows("a", 100.0)
    assert not table.allows("a", 100.0)
    assert table.allows("b", 100.0)


def test_the_key_that_was_not_seen_for_longest_is_forgotten() -> None:
    table = RateTable(1, burst=1, keys_max=2)
    for key in ("a", "b", "a", "c"):  # "a" is fresher than "b" when "c" comes.
        table.allows(key, 100.0)

    assert not table.allows("a", 100.0)
    assert table.allows("b", 100.0)
