"""The signature over the controller's answer."""

import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest

from ws_subprocess.auth.signature import is_signed, sign

KEY = b"k" * 32
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "controller_signature.json").read_text("utf-8"))
TRUE = ("GET", b"t0ken", b'{"command": "/bin/true"}')


def documented(key: bytes, method: str, asked: bytes, answer: bytes) -> str:
    """PROTOCOL.md's recipe, written down a second time."""
    digest = hmac.new(key, digestmod=hashlib.sha256)
    digest.update(f"v1\n{method}\n{hashlib.sha256(asked).hexdigest()}\n".encode())
    digest.update(answer)
    return "v1=" + digest.hexdigest()


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_published_examples_are_what_it_makes(vector: dict[str, Any]) -> None:
    key, asked, answer = (vector[name].encode() for name in ("key", "asked", "answer"))

    assert sign(key, vector["method"], asked, answer) == vector["signature"]
    assert documented(key, vector["method"], asked, answer) == vector["signature"]
    assert is_signed(key, vector["method"], asked, answer, vector["signature"])


@pytest.mark.parametrize(
    "changed",
    [
        ("POST", b"t0ken", TRUE[2]),
        ("GET", b"t0ken2", TRUE[2]),
        ("GET", b"t0ken", TRUE[2] + b" "),
        ("GET", b"t0ken", TRUE[2].replace(b"true", b"sh")),
        ("GET", b"t0ken\n", TRUE[2]),
    ],
)
def test_it_fits_only_this_answer_to_this_question(changed: tuple[str, bytes, bytes]) -> None:
    assert not is_signed(KEY, *changed, sign(KEY, *TRUE))


def test_it_fits_only_this_key() -> None:
    assert not is_signed(b"x" * 32, *TRUE, sign(KEY, *TRUE))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda good: "",
        lambda good: "v1=",
        lambda good: good[3:],
        lambda good: good.upper(),
        lambda good: f" {good}",
        lambda good: f"{good}, {good}",
        lambda good: good.replace("v1=", "v2="),
        lambda good: good[:-1],
        lambda good: good[:-1] + ("0" if good[-1] != "0" else "1"),
        lambda good: good + "\u00e9",
        lambda good: "\ud800",
    ],
    ids=range(11),
)
def test_what_is_not_exactly_the_signature_is_none(spoil: Any) -> None:
    assert not is_signed(KEY, *TRUE, spoil(sign(KEY, *TRUE)))
