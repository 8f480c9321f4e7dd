"""Which key a signed token is verified with: its own, and no other."""

import hmac
import os
from collections.abc import Sequence

import pytest
from asking import REQUEST
from signing import KINDS, SECRET, authority, encode, forge, good_claims, private_pem, public_pem, signing_key

from ws_subprocess.auth.key_ring import CANDIDATES_MAX
from ws_subprocess.auth.keys import ALGORITHMS, SigningKey, load_signing_key
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials


async def is_granted(token: str, *keys: SigningKey) -> bool:
    return await authority(*keys).ask(Credentials(token), REQUEST) is not None


async def refuse(token: str, *keys: SigningKey) -> str:
    with pytest.raises(GateError) as caught:
        await authority(*keys).ask(Credentials(token), REQUEST)
    assert caught.value.code == "denied"
    return caught.value.reason


def named(key: SigningKey, kid: str, algorithm: str = "") -> str:
    return forge({"alg": algorithm or key.algorithm, "typ": "JWT", "kid": kid}, key=key)


def test_every_algorithm_has_its_test() -> None:
    assert KINDS.keys() == ALGORITHMS


@pytest.mark.parametrize("algorithm", KINDS)
async def test_a_token_of_each_algorithm_is_verified(algorithm: str) -> None:
    key = signing_key(algorithm)

    assert await is_granted(forge(key=key), key)


@pytest.mark.parametrize("algorithm", KINDS)
async def test_a_signature_with_one_bit_changed_is_refused(algorithm: str) -> None:
    key = signing_key(algorithm)
    signed = f"{encode({'alg': algorithm})}.{encode(good_claims())}"
    signature = bytearray(key.sign(signed.encode()))
    signature[len(signature) // 2] ^= 1

    assert await refuse(f"{signed}.{encode(bytes(signature))}", key) == "jwt_signature"


@pytest.mark.parametrize("algorithm", KINDS)
async def test_no_worthless_signature_passes_or_breaks_anything(algorithm: str) -> None:
    for signature in (b"\0", bytes(64), bytes(96), bytes(132), bytes(256), b"\xff" * 64):
        token = f"{encode({'alg': algorithm})}.{encode(good_claims())}.{encode(signature)}"

        assert await refuse(token, signing_key(algorithm)) == "jwt_signature"


@pytest.mark.parametrize("algorithm", KINDS)
async def test_a_token_cannot_choose_the_algorithm_of_a_key(algorithm: str) -> None:
    """Also not that of another key beside it."""
    key = signing_key(algorithm, "k")

    for claimed in KINDS.keys() - {algorithm}:
        assert await refuse(named(key, "k", claimed), key, signing_key(claimed, "other")) == "jwt_alg"
    assert await is_granted(named(key, "k"), key)


async def test_a_public_key_is_no_secret_that_signs() -> None:
    signed = f"{encode({'alg': 'HS256', 'typ': 'JWT'})}.{encode(good_claims())}"
    signature = hmac.digest(public_pem("rsa"), signed.encode(), "sha256")

    assert await refuse(f"{signed}.{encode(signature)}", signing_key("RS256")) == "jwt_alg"


async def test_a_key_is_found_by_its_name_alone() -> None:
    old, new = (load_signing_key(os.urandom(32), "HS256", kid) for kid in ("old", "new"))

    assert await is_granted(named(old, "old"), old, new)
    assert await is_granted(named(new, "new"), old, new)
    assert await refuse(named(old, "new"), old, new) == "jwt_signature"
    assert await refuse(named(old, "OLD"), old, new) == "jwt_key"
    assert await refuse(named(old, "old"), new) == "jwt_key"


async def test_a_token_that_names_no_key_is_tried_with_each_of_its_algorithm() -> None:
    keys = [load_signing_key(os.urandom(32), "HS256") for _ in range(CANDIDATES_MAX)]

    assert await is_granted(forge(key=keys[-1]), signing_key("ES256"), *keys)
    assert await refuse(forge(key=signing_key()), *keys) == "jwt_signature"


async def test_a_token_must_name_its_key_where_there_are_many() -> None:
    keys: Sequence[SigningKey] = [load_signing_key(os.urandom(32), "HS256", f"k{n}") for n in range(CANDIDATES_MAX + 1)]

    assert await refuse(forge(key=keys[0]), *keys) == "jwt_key"
    assert await is_granted(named(keys[0], "k0"), *keys)


async def test_a_key_shows_itself_nowhere() -> None:
    key = load_signing_key(private_pem("ed25519"), kid="k")

    assert repr(signing_key()) == "SigningKey(kid='', algorithm='HS256')"
    assert SECRET.decode() not in repr(signing_key().get_verifying())
    assert repr(key.get_verifying()) == "VerifyingKey(kid='k', algorithm='EdDSA')"
