"""Keys that verify and sign tokens: from bytes to a key that is fit for its one algorithm, or refused. Pure.

Laws: a key has one algorithm, and no token can choose another; what could be guessed, or taken for a key of another
kind, is refused when it is loaded; whoever only verifies holds no private key.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from jwt import PyJWK, get_algorithm_by_name
from jwt.exceptions import InvalidKeyError, PyJWTError

PublicKey = RSAPublicKey | EllipticCurvePublicKey | Ed25519PublicKey
PrivateKey = RSAPrivateKey | EllipticCurvePrivateKey | Ed25519PrivateKey

# A secret shorter than its hash is the weakest part (RFC 7518, 3.2).
SECRET_MIN_BYTES: Mapping[str, int] = {"HS256": 32, "HS384": 48, "HS512": 64}
CURVES: Mapping[str, str] = {"ES256": "secp256r1", "ES384": "secp384r1", "ES512": "secp521r1"}
RSA_ALGORITHMS = frozenset({"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"})
ALGORITHMS = frozenset({*SECRET_MIN_BYTES, *CURVES, *RSA_ALGORITHMS, "EdDSA"})
_PUBLISHED_ALGORITHMS = ALGORITHMS - SECRET_MIN_BYTES.keys()
RSA_MIN_BITS = 2048
# Each token that is verified costs time which grows with the square of this.
RSA_MAX_BITS = 8192
KID_MAX_CHARS = 256


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """Verifies signatures of one algorithm; `kid` is its name, "" for none."""

    kid: str
    algorithm: str
    _material: Any = field(repr=False)

    def verifies(self, signed: bytes, signature: bytes) -> bool:
        """Tell whether `signature` is this key's over `signed`; secrets are compared in constant time."""
        return get_algorithm_by_name(self.algorithm).verify(signed, self._material, signature)


@dataclass(frozen=True, slots=True)
class SigningKey:
    """Makes signatures of one algorithm."""

    kid: str
    algorithm: str
    _material: Any = field(repr=False)

    def sign(self, data: bytes) -> bytes:
        """Return the signature over `data`."""
        return get_algorithm_by_name(self.algorithm).sign(data, self._material)

    def get_verifying(self) -> VerifyingKey:
        """Return the half that verifies; of a secret, itself."""
        is_private = isinstance(self._material, PrivateKey)
        return VerifyingKey(self.kid, self.algorithm, self._material.public_key() if is_private else self._material)


def load_verifying_key(data: bytes, algorithm: str, kid: str = "") -> VerifyingKey:
    """Return the key in `data`: a secret as it is, or a public key as PEM.

    Raises:
        ValueError: Too weak, of another kind, or private; says what to do.
    """
    _check_algorithm(algorithm)
    if algorithm in SECRET_MIN_BYTES:
        return VerifyingKey(kid, algorithm, _check_secret(data, algorithm))
    if is_private(data):
        raise ValueError("a private key, which only the issuer may have; give the public one (openssl pkey -pubout)")
    return VerifyingKey(kid, algorithm, _check_public(load_public_key(data), algorithm))


def load_signing_key(data: bytes, algorithm: str = "", kid: str = "") -> SigningKey:
    """Return the key in `data`: a secret as it is, or a private key as PEM, without a password.

    Args:
        algorithm: "" for the usual one of its kind: HS256, RS256, ES256 to ES512, EdDSA.

    Raises:
        ValueError: Too weak, of another kind, or public; says what to do.
    """
    private = _load_private(data) if is_private(data) else None
    algorithm = algorithm or (infer_algorithm(private.public_key()) if private else "HS256")
    _check_algorithm(algorithm)
    if algorithm in SECRET_MIN_BYTES:
        return SigningKey(kid, algorithm, _check_secret(data, algorithm))
    if private is None:
        raise ValueError(f"{algorithm} signs with a private key (PEM), which this is not; see `openssl genpkey`")
    _check_public(private.public_key(), algorithm)
    return SigningKey(kid, algorithm, private)


def load_published_key(jwk: Mapping[str, Any]) -> VerifyingKey:
    """Return the key that an issuer publishes as a JWK (RFC 7517); its `alg` decides, else its kind.

    Raises:
        ValueError: Not for verifying signatures, secret, too weak, or broken.
    """
    if jwk.get("kty") not in ("RSA", "EC", "OKP") or "d" in jwk or "k" in jwk:
        raise ValueError("no public key")
    if jwk.get("use", "sig") != "sig" or jwk.get("key_ops", ["verify"]) != ["verify"]:
        raise ValueError("not for verifying signatures")
    kid, algorithm = jwk.get("kid", ""), jwk.get("alg")
    if not isinstance(kid, str) or len(kid) > KID_MAX_CHARS:
        raise ValueError(f"kid: not a string of at most {KID_MAX_CHARS} characters")
    if algorithm is not None and (not isinstance(algorithm, str) or algorithm not in _PUBLISHED_ALGORITHMS):
        raise ValueError("alg: none that is supported")
    try:
        key = PyJWK(dict(jwk), algorithm)
    except (PyJWTError, ValueError, TypeError, KeyError, AttributeError, UnsupportedAlgorithm) as exc:
        # Its members may be of any type, and PyJWT looks at few of them before it uses them.
        raise ValueError(f"broken: {type(exc).__name__}") from exc
    return VerifyingKey(kid, key.algorithm_name, _check_public(key.key, key.algorithm_name))


def is_private(data: bytes) -> bool:
    """Tell whether `data` is a private key as PEM, whatever kind."""
    return b"-----BEGIN " in data and b"PRIVATE KEY-----" in data


def infer_algorithm(key: object) -> str:
    """Return the usual algorithm of a public key."""
    match key:
        case RSAPublicKey():
            return "RS256"
        case Ed25519PublicKey():
            return "EdDSA"
        case EllipticCurvePublicKey(curve=curve):
            found = next((name for name, wanted in CURVES.items() if wanted == curve.name), None)
            if found:
                return found
    raise ValueError("no key for signatures: take RSA, P-256, P-384, P-521 or Ed25519")


def _check_algorithm(algorithm: str) -> None:
    if algorithm not in ALGORITHMS:
        raise ValueError(f"{algorithm} is no algorithm for tokens; take one of {', '.join(sorted(ALGORITHMS))}")


def _check_secret(data: bytes, algorithm: str) -> bytes:
    least = SECRET_MIN_BYTES[algorithm]
    if len(data) < least:
        raise ValueError(
            f"jwt key too short: {len(data)} bytes, {algorithm} needs at least {least}; "
            "make one with `openssl rand -base64 48`"
        )
    try:
        # Whoever verifies with a public key as the secret lets everybody sign who has read it.
        return bytes(get_algorithm_by_name(algorithm).prepare_key(data))
    except InvalidKeyError as exc:
        raise ValueError(f"no secret but a key or certificate of another kind; {algorithm} needs random bytes") from exc


def load_public_key(data: bytes) -> object:
    """Return the public key in `data` (PEM), of whatever kind, or raise ValueError."""
    try:
        return serialization.load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise ValueError("no public key (PEM); it begins with -----BEGIN PUBLIC KEY-----") from exc


def _load_private(data: bytes) -> PrivateKey:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as exc:
        raise ValueError("a private key that cannot be read; it must be PEM, without a password") from exc
    if not isinstance(key, PrivateKey):
        raise ValueError("no key for signatures: take RSA, P-256, P-384, P-521 or Ed25519")
    return key


def _check_public(key: object, algorithm: str) -> PublicKey:
    match key:
        case RSAPublicKey(key_size=bits) if algorithm in RSA_ALGORITHMS:
            if bits < RSA_MIN_BITS:
                raise ValueError(f"jwt key too short: {bits} bits, {algorithm} needs at least {RSA_MIN_BITS}")
            if bits > RSA_MAX_BITS:
                raise ValueError(f"jwt key too long: {bits} bits, at most {RSA_MAX_BITS}")
            return key
        case EllipticCurvePublicKey(curve=curve) if CURVES.get(algorithm) == curve.name:
            return key
        case Ed25519PublicKey() if algorithm == "EdDSA":
            return key
    raise ValueError(f"a key of another kind than {algorithm} needs: {_name_kind(algorithm)}")


def _name_kind(algorithm: str) -> str:
    if algorithm in RSA_ALGORITHMS:
        return f"RSA, {RSA_MIN_BITS} bits or more"
    return f"EC on the curve {CURVES[algorithm]}" if algorithm in CURVES else "Ed25519"
