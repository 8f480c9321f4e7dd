"""Keys are refused when they are loaded, not when the first token comes: too weak, or not what they should be."""

import contextlib
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm
from signing import KINDS, make_private, private_pem, public_pem

from ws_subprocess.auth.keys import (
    ALGORITHMS,
    SECRET_MIN_BYTES,
    load_published_key,
    load_signing_key,
    load_verifying_key,
)

JWK_MAKERS: dict[str, Any] = {"rsa": RSAAlgorithm, "P-256": ECAlgorithm, "P-384": ECAlgorithm, "ed25519": OKPAlgorithm}


def make_jwk(kind: str, **changes: Any) -> dict[str, Any]:
    """Return a public key as an issuer publishes it; `...` leaves a member out."""
    maker = JWK_MAKERS["rsa" if kind.startswith("rsa") else kind]
    jwk = maker.to_jwk(make_private(kind).public_key(), as_dict=True)
    return {name: value for name, value in ({**jwk, "kid": "k"} | changes).items() if value is not ...}


@pytest.mark.parametrize(("algorithm", "least"), SECRET_MIN_BYTES.items())
def test_a_secret_is_as_long_as_its_hash(algorithm: str, least: int) -> None:
    load_verifying_key(b"x" * least, algorithm)
    for load in (load_verifying_key, load_signing_key):
        with pytest.raises(ValueError, match=rf"^jwt key too short: {least - 1} bytes, {algorithm} needs .* {least};"):
            load(b"x" * (least - 1), algorithm)


@pytest.mark.parametrize(
    "data",
    [
        public_pem("rsa"),
        private_pem("P-256"),
        make_private("rsa")
        .public_key()
        .public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo),
        make_private("ed25519")
        .public_key()
        .public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH),
        json.dumps({"kty": "oct", "k": "A" * 64}).encode(),
    ],
)
def test_a_key_of_another_kind_is_no_secret(data: bytes) -> None:
    with pytest.raises(ValueError, match="no secret but a key"):
        load_verifying_key(data, "HS256")


@pytest.mark.parametrize("algorithm", [name for name, kind in KINDS.items() if kind != "secret"])
@pytest.mark.parametrize("kind", ["rsa", "P-256", "P-384", "P-521", "secp256k1", "ed25519", "ed448", "dsa"])
def test_a_public_key_must_be_of_the_kind_that_its_algorithm_takes(algorithm: str, kind: str) -> None:
    if KINDS[algorithm] == kind:
        assert load_verifying_key(public_pem(kind), algorithm, "k").kid == "k"
    else:
        with pytest.raises(ValueError, match=f"of another kind than {algorithm} needs"):
            load_verifying_key(public_pem(kind), algorithm)


def test_a_short_rsa_key_is_refused() -> None:
    for load, pem in ((load_verifying_key, public_pem("rsa-1024")), (load_signing_key, private_pem("rsa-1024"))):
        with pytest.raises(ValueError, match=r"^jwt key too short: 1024 bits, RS256 needs at least 2048"):
            load(pem, "RS256")


def test_who_verifies_holds_no_private_key() -> None:
    with pytest.raises(ValueError, match=r"a private key, .*openssl pkey -pubout"):
        load_verifying_key(private_pem("rsa"), "RS256")


@pytest.mark.parametrize("algorithm", ["none", "hs256", "HS1", "ES256K", ""])
def test_an_algorithm_that_nobody_should_use_is_refused_with_a_list_of_the_others(algorithm: str) -> None:
    with pytest.raises(ValueError, match="is no algorithm for tokens; take one of ES256, ES384"):
        load_verifying_key(b"x" * 64, algorithm)


@pytest.mark.parametrize(
    "data", [b"", b"x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", b"\xff" * 99]
)
def test_what_is_no_key_is_refused(data: bytes) -> None:
    with pytest.raises(ValueError, match="no public key"):
        load_verifying_key(data, "ES256")


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("rsa", "RS256"), ("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"), ("ed25519", "EdDSA")],
)
def test_a_private_key_signs_in_the_usual_way_of_its_kind(kind: str, algorithm: str) -> None:
    key = load_signing_key(private_pem(kind))

    assert key.algorithm == algorithm
    assert key.get_verifying().verifies(b"data", key.sign(b"data"))
    assert load_verifying_key(public_pem(kind), algorithm).verifies(b"data", key.sign(b"data"))


@pytest.mark.parametrize("kind", ["secp256k1", "ed448", "dsa"])
def test_a_private_key_of_a_kind_that_nobody_verifies_signs_nothing(kind: str) -> None:
    with pytest.raises(ValueError, match="no key for signatures"):
        load_signing_key(private_pem(kind))


def test_a_private_key_with_a_password_is_refused() -> None:
    pem = make_private("P-256").private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"password"),
    )

    with pytest.raises(ValueError, match="without a password"):
        load_signing_key(pem)


@pytest.mark.parametrize(
    ("kind", "algorithm"), [("rsa", "RS256"), ("P-256", "ES256"), ("P-384", "ES384"), ("ed25519", "EdDSA")]
)
def test_a_published_key_that_tells_no_algorithm_gets_the_usual_one(kind: str, algorithm: str) -> None:
    key = load_published_key(make_jwk(kind))

    assert (key.kid, key.algorithm) == ("k", algorithm)
    assert key.verifies(b"data", load_signing_key(private_pem(kind)).sign(b"data"))


def test_a_published_key_is_for_the_algorithm_that_it_tells() -> None:
    key = load_published_key(make_jwk("rsa", alg="PS384", use="sig", key_ops=["verify"]))

    assert key.algorithm == "PS384"
    assert key.verifies(b"data", load_signing_key(private_pem("rsa"), "PS384").sign(b"data"))


@pytest.mark.parametrize(
    "jwk",
    [
        {"kty": "oct", "k": "A" * 64, "alg": "HS256"},
        make_jwk("rsa", k="A" * 64),
        make_jwk("rsa", d="AQAB"),
        make_jwk("rsa", use="enc"),
        make_jwk("rsa", use=["sig"]),
        make_jwk("rsa", key_ops=["encrypt"]),
        make_jwk("rsa", key_ops=1),
        make_jwk("rsa", alg="HS256"),
        make_jwk("rsa", alg="RSA-OAEP"),
        make_jwk("rsa", alg="ES256"),
        make_jwk("rsa", alg=["RS256"]),
        make_jwk("rsa", kty="EC"),
        make_jwk("rsa", kty=...),
        make_jwk("rsa", kid=1),
        make_jwk("rsa", kid="k" * 257),
        make_jwk("rsa", n=...),
        make_jwk("rsa", n=1),
        make_jwk("rsa", n="!"),
        make_jwk("rsa", e="AQ"),
        make_jwk("rsa", e="Ag"),
        make_jwk("rsa-1024"),
        make_jwk("P-256", crv="secp256k1"),
        make_jwk("P-256", crv="P-384"),
        make_jwk("P-256", alg="ES384"),
        make_jwk("P-256", x="AAAA"),
        make_jwk("P-256", y="A" * 43),
        make_jwk("ed25519", crv="Ed448"),
        make_jwk("ed25519", x="AAAA"),
        make_jwk("ed25519", x=None),
    ],
)
def test_a_published_key_that_is_no_good_is_refused(jwk: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        load_published_key(jwk)

    assert type(caught.value) is ValueError


VALUES = st.none() | st.booleans() | st.integers() | st.text() | st.lists(st.text(max_size=4), max_size=3)


@given(
    st.sampled_from(["rsa", "P-256", "ed25519"]),
    st.dictionaries(st.sampled_from(["kty", "n", "e", "x", "y", "crv", "alg", "use"]), VALUES),
)
def test_no_published_key_breaks_anything(kind: str, changes: dict[str, Any]) -> None:
    with contextlib.suppress(ValueError):
        assert load_published_key(make_jwk(kind, **changes)).algorithm in ALGORITHMS - SECRET_MIN_BYTES.keys()
