"""Password hashes with scrypt. Slow on purpose (about 0.1 s and 16 MiB): call it off the event loop."""

import hashlib
import hmac
import secrets

SALT_BYTES = 16


def hash_password(password: str, salt: bytes | None = None) -> bytes:
    """Return salt and hash in one; the parameters are OWASP's for 16 MiB."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    return salt + hashlib.scrypt(password.encode(), salt=salt, n=2**14, r=8, p=5)


def is_password(password: str, hashed: bytes) -> bool:
    """Tell whether `hashed` was made from this password, in a time that says nothing about how close it was."""
    return hmac.compare_digest(hash_password(password, hashed[:SALT_BYTES]), hashed)


# Checked when no such user exists, so that the time of an answer does not tell names that exist from others.
NOBODYS_HASH = bytes(SALT_BYTES + 64)
