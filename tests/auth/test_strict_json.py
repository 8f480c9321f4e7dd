"""JSON from outside: what is refused, whatever it is needed for, and that refusing is quick."""

import json

import pytest

from ws_subprocess.auth.strict_json import DEPTH_MAX, VALUES_MAX, parse_json

AMBIGUOUS = [b'{"a": 1, "a": 2}', b'[{"a": {"b": 1, "b": 1}}]', b"NaN", b"[Infinity]", b"\xff", b'"\xed\xa0\x80"', b""]


@pytest.mark.parametrize("text", AMBIGUOUS)
def test_what_two_readers_could_understand_differently_is_refused(text: bytes) -> None:
    with pytest.raises(ValueError, match=r"^[A-Za-z]+$"):
        parse_json(text)


@pytest.mark.parametrize(("begin", "end"), [(b"[", b"]"), (b'{"a":', b"}"), (b'[[],{"a":', b"}]")])
def test_what_is_nested_too_deeply_is_refused(begin: bytes, end: bytes) -> None:
    depth = 2 if begin.startswith(b"[[") else 1
    times = DEPTH_MAX // depth
    good = begin * times + b"1" + end * times

    assert json.dumps(parse_json(good), separators=(",", ":")).encode() == good
    with pytest.raises(ValueError, match="nested too deeply"):
        parse_json(begin + good + end)
    with pytest.raises(ValueError, match=r".+"):
        parse_json(begin * 40_000 + b"1" + end * 40_000)


@pytest.mark.parametrize("value", [b"1", b"{}", b"[]", b'""', b'","', b'"\\","', b'"\\\\"'])
def test_too_many_values_are_refused_and_what_stands_in_strings_is_none(value: bytes) -> None:
    per_value = 2 if value in (b"{}", b"[]") else 1
    most = (VALUES_MAX - 1) // per_value

    assert len(parse_json(b"[" + b",".join([value] * most) + b"]")) == most
    with pytest.raises(ValueError, match="too many values"):
        parse_json(b"[" + b",".join([value] * (most + 2)) + b"]")


def test_a_long_string_of_anything_is_one_value() -> None:
    text = ',[{"\\' * 100_000

    assert parse_json(json.dumps([text]).encode()) == [text]
