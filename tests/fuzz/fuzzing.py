"""How much is fuzzed, from which seed, and how a failure is found again.

Law: a case is made from its name alone (what is fuzzed, seed, number), so that it can be had again:

    WS_SUBPROCESS_FUZZ         cases in all; the tests share them (default: 30,000, about 40 s on two cores)
    WS_SUBPROCESS_FUZZ_SEED    another seed makes other cases
    WS_SUBPROCESS_FUZZ_CASES   FIRST:END, only these numbers of each test: what a failure names
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from random import Random

import pytest

TOTAL = int(os.environ.get("WS_SUBPROCESS_FUZZ", "30000"))
SEED = os.environ.get("WS_SUBPROCESS_FUZZ_SEED", "1")
_ONLY = os.environ.get("WS_SUBPROCESS_FUZZ_CASES", "")

# What goes wrong at the borders of parsers: ends of lines, quoting, encodings, numbers, size.
_BYTES = tuple(bytes([byte]) for byte in b'\0\n\r\t \x7f\x80\xff%+&=;,:/"\\{}[]')
_NUMBERS = (b"-1", b"0", b"00", b"1e9", b"2147483648", b"18446744073709551616", b"9" * 400, b"0x10", b"NaN", b"null")
_TEXTS = (b"", b"%00", b"%0d%0a", b"%2e%2e%2f", b"..", b"//", b"true", b"${x}", b"{0}", b"A" * 300, b"A" * 9000)
_ENCODINGS = (b"\xc0\xaf", b"\xed\xa0\x80", b"\xf0\x9f\x98\x80", b"\xef\xbb\xbf", b"\x1b[31m", b"\r\n", b"\r\n\r\n")
ODD = _BYTES + _NUMBERS + _TEXTS + _ENCODINGS


def numbers(share: float, batch: int) -> Iterator[range]:
    """Yield the numbers of a test that takes its `share` of all cases, in batches."""
    first, end = 0, max(1, round(TOTAL * share))
    if _ONLY:
        first, end = (int(text) for text in _ONLY.split(":"))
    for start in range(first, end, batch):
        yield range(start, min(end, start + batch))


def is_thorough() -> bool:
    """Tell whether so many cases are made that each way through the daemon must have been taken."""
    return not _ONLY and TOTAL >= 10_000


def dice(what: str, number: int) -> Random:
    """Return the source of chance of one case."""
    return Random(f"{what} {SEED} {number}")


@contextmanager
def replayable(what: str, cases: range | Sequence[int]) -> Iterator[None]:
    """Say with a failure how to have it again."""
    try:
        yield
    except (Exception, pytest.fail.Exception) as failure:
        failure.add_note(
            f"{what}: again with WS_SUBPROCESS_FUZZ_SEED={SEED} WS_SUBPROCESS_FUZZ_CASES={cases[0]}:{cases[-1] + 1}"
        )
        raise


def mutate(rng: Random, data: bytes, most: int = 4) -> bytes:
    """Return `data` changed in one to `most` places: flipped, inserted, deleted, doubled, replaced, cut off."""
    for _ in range(rng.randint(1, most)):
        data = rng.choice(_MUTATIONS)(rng, data)
    return data


def _flip(rng: Random, data: bytes) -> bytes:
    if not data:
        return data
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]


def _insert(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice((rng.randbytes(rng.randint(1, 8)), rng.choice(ODD))) + data[at:]


def _delete(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + data[at + rng.randint(1, 16) :]


def _double(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    end = at + rng.randint(1, 40)
    return data[:end] + data[at:end] * rng.choice((1, 1, 1, 3, 200)) + data[end:]


def _replace(rng: Random, data: bytes) -> bytes:
    at = rng.randint(0, len(data))
    return data[:at] + rng.choice(ODD) + data[at + rng.randint(1, 12) :]


def _double_line(rng: Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    lines.insert(rng.randint(0, len(lines)), rng.choice(lines) * rng.choice((1, 1, 1, 150)))
    return b"\r\n".join(lines)


def _swap_lines(rng: Random, data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    one, other = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[one], lines[other] = lines[other], lines[one]
    return b"\r\n".join(lines)


def _cut_off(rng: Random, data: bytes) -> bytes:
    return data[: rng.randint(0, len(data))]


def _end_lines_otherwise(rng: Random, data: bytes) -> bytes:
    return data.replace(b"\r\n", rng.choice((b"\n", b"\r", b"\n\r", b"\r\n ")), rng.choice((1, 1, -1)))


_MUTATIONS = (
    *(_flip, _flip, _insert, _insert, _delete, _delete, _double, _replace, _replace, _replace),
    *(_double_line, _swap_lines, _cut_off, _end_lines_otherwise),
)
