"""The vectors of signed tokens that other implementations can run as well (tests/vectors/README.md)."""

import json
from pathlib import Path
from typing import Any

import pytest
from asking import REQUEST

from ws_subprocess.auth.claims import ClaimRules
from ws_subprocess.auth.key_ring import KeyRing
from ws_subprocess.auth.keys import load_verifying_key
from ws_subprocess.auth.signed import SignedTokens
from ws_subprocess.errors import REASONS, GateError
from ws_subprocess.model import Credentials
from ws_subprocess.process.environ import is_refused

VECTORS: dict[str, Any] = json.loads((Path(__file__).parent.parent / "vectors" / "jwt_v1.json").read_text())
TOKENS: list[dict[str, Any]] = VECTORS["tokens"]


@pytest.fixture
def keys() -> SignedTokens:
    ring = KeyRing(load_verifying_key(key["key"].encode(), key["algorithm"], key["kid"]) for key in VECTORS["keys"])
    rules = ClaimRules(VECTORS["audience"], VECTORS["issuer"], VECTORS["leeway_s"], VECTORS["max_lifetime_s"])
    return SignedTokens(ring, None, rules, is_refused, clock=lambda: float(VECTORS["now"]))


@pytest.mark.parametrize("vector", TOKENS, ids=[vector["name"] for vector in TOKENS])
async def test_each_token_is_granted_or_refused_for_its_reason(keys: SignedTokens, vector: dict[str, Any]) -> None:
    reason = None
    try:
        assert await keys.ask(Credentials(vector["token"]), REQUEST) is not None
    except GateError as error:
        reason = error.reason

    assert reason == vector["reason"]


def test_there_is_a_vector_for_every_reason() -> None:
    found = {vector["reason"] for vector in TOKENS if vector["reason"]}

    assert found == {reason for reason in REASONS if reason.startswith("jwt_")}
