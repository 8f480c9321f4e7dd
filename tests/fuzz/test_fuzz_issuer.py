"""Keys of an issuer (JWKS) that are almost good: they are taken, or refused in words."""

import json
from random import Random
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from fuzzing import dice, mutate, numbers, replayable
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from ws_subprocess.auth.jwks import parse_keys

VALUES: tuple[Any, ...] = (
    *(None, 0, -1, 1e308, True, [], {}, ["verify"], "", "AA", "AQAB", "=", "....", "A" * 9000, "\u00e9", "\ud800"),
    *("EC", "RSA", "OKP", "oct", "none", "HS256", "ES384", "P-256", "P-521", "secp256k1", "X25519", "Ed448", "enc"),
)


@pytest.fixture(scope="module")
def published() -> bytes:
    """What an issuer publishes, with a key of each kind (RFC 7517)."""
    found = [
        {**json.loads(RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 2048).public_key())), "alg": "RS256"},
        {**json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP256R1()).public_key())), "alg": "ES256"},
        {**json.loads(OKPAlgorithm.to_jwk(ed25519.Ed25519PrivateKey.generate().public_key())), "alg": "EdDSA"},
    ]
    return json.dumps({"keys": [jwk | {"kid": jwk["alg"], "use": "sig"} for jwk in found]}).encode()


def test_changed_keys_of_an_issuer_are_taken_or_refused_in_words(published: bytes) -> None:
    assert len(parse_keys(published)) == 3

    for batch in numbers(share=0.025, batch=1000):
        for number in batch:
            body = change(dice("issuer", number), published)
            with replayable(f"issuer {body!r}", [number]):
                taken, problem = parse_or_hear(body)
                assert taken <= 3
                assert problem is None or problem.isprintable()


def change(rng: Random, published: bytes) -> bytes:
    """Return the keys with places of their text changed, or with another value or member in one or two of them."""
    if rng.random() < 0.5:
        return mutate(rng, published)
    fields = json.loads(published)
    for jwk in rng.choices(fields["keys"], k=rng.randint(1, 2)):
        jwk[rng.choice([*jwk, "d", "k", "key_ops", "x5c"])] = rng.choice(VALUES)
    return json.dumps(fields).encode()


def parse_or_hear(body: bytes) -> tuple[int, str | None]:
    """Return how many keys were taken, or why none was; any other error than ValueError is one of ours."""
    try:
        return len(parse_keys(body)), None
    except ValueError as exc:
        return 0, str(exc)
