"""Which JSON is a call of weeRPC, by its version. What servers say of the rest: tests/http."""

from typing import Any

import pytest

from ws_subprocess.dialects.weerpc import V1_0, V1_1, BadCallError, Call, Version, read_call


@pytest.mark.parametrize(
    ("version", "number"),
    [(V1_1, 1.1), (V1_0, 1.0), pytest.param(V1_0, 1, id="JavaScript writes 1.0 as 1")],
)
def test_a_call_names_the_version_of_its_route(version: Version, number: float) -> None:
    value = {version.key: number, "function": "f", "data": None, "more": "ignored"}

    assert read_call(value, version) == Call("f", None)


@pytest.mark.parametrize("number", [True, "1.0", 1.1, 2, None, [1.0], float("nan")], ids=repr)
def test_what_is_not_that_number_is_another_version(number: Any) -> None:
    with pytest.raises(BadCallError, match=r"^Invalid wrpc version\.$"):
        read_call({"wrpc": number, "function": "f", "data": None}, V1_0)


def test_the_key_of_another_version_does_not_count() -> None:
    with pytest.raises(BadCallError, match=r"^Invalid weerpc version\.$"):
        read_call({"wrpc": 1.1, "function": "f", "data": None}, V1_1)
