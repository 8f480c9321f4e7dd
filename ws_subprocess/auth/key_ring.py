"""The keys that tokens are verified with, by name and by algorithm. Pure."""

from collections.abc import Iterable

from ws_subprocess.auth.jws import SignedToken, refuse
from ws_subprocess.auth.keys import VerifyingKey

# A token that names no key is tried with each of its algorithm: this bounds what a worthless one can cost.
CANDIDATES_MAX = 8


class KeyRing:
    """Keys of one source.

    Args:
        keys: Of several with the same name the first counts.
    """

    def __init__(self, keys: Iterable[VerifyingKey] = ()) -> None:
        self._keys = tuple(keys)
        self._by_kid: dict[str, VerifyingKey] = {}
        for key in self._keys:
            if key.kid:
                self._by_kid.setdefault(key.kid, key)

    def __len__(self) -> int:
        return len(self._keys)

    def verify(self, token: SignedToken) -> None:
        """Pass a token that one of the keys has signed.

        Raises:
            GateError: `denied`; the reason is `jwt_key`, `jwt_alg` or `jwt_signature`.
        """
        if not any(key.verifies(token.signed, token.signature) for key in self._find(token)):
            raise refuse("jwt_signature", "its signature is not of the key that it should be of")

    def _find(self, token: SignedToken) -> list[VerifyingKey]:
        if token.kid is not None:
            key = self._by_kid.get(token.kid)
            if key is None:
                raise refuse("jwt_key", f"kid: no key of the name {token.kid!a}")
            if key.algorithm != token.algorithm:
                raise refuse("jwt_alg", f"alg: {token.algorithm}, but its key is for {key.algorithm}")
            return [key]
        keys = [key for key in self._keys if key.algorithm == token.algorithm]
        if not keys:
            raise refuse("jwt_alg", f"alg: {token.algorithm}, and no key is for that")
        if len(keys) > CANDIDATES_MAX:
            raise refuse("jwt_key", f"kid: none named, and {len(keys)} keys could be meant, more than {CANDIDATES_MAX}")
        return keys
