"""What the settings say about signed tokens: the keys, read and found fit, and the rules.

Imported only where keys are named: it takes longer than all other settings.
"""

from collections.abc import Mapping

from ws_subprocess.auth.claims import ClaimRules
from ws_subprocess.auth.keys import SECRET_MIN_BYTES, VerifyingKey, load_verifying_key
from ws_subprocess.config.secrets import read_secret, split_key
from ws_subprocess.config.settings import Settings


def build_rules(settings: Settings) -> ClaimRules:
    """Return what the settings require of signed tokens."""
    return ClaimRules(
        audience=settings.jwt_audience,
        issuer=settings.jwt_issuer,
        leeway_s=settings.jwt_leeway_s,
        max_lifetime_s=settings.jwt_max_lifetime_s,
    )


def read_keys(references: tuple[str, ...], environ: Mapping[str, str]) -> list[VerifyingKey]:
    """Return the keys.

    Args:
        references: As `parse_key` returns them.

    Raises:
        ValueError: One cannot be used, or two have the same name; tells which and what to do.
    """
    keys: list[VerifyingKey] = []
    for reference in references:
        key = read_key(reference, environ)
        if key.kid and key.kid in {other.kid for other in keys}:
            raise ValueError(f"{reference}: another key has the kid {key.kid!a}; give each its own")
        keys.append(key)
    return keys


def read_key(reference: str, environ: Mapping[str, str]) -> VerifyingKey:
    """Return the key that one reference names, or raise ValueError."""
    kid, algorithm, secret = split_key(reference)
    try:
        data = read_secret(secret, environ, is_public=algorithm not in SECRET_MIN_BYTES)
        return load_verifying_key(data, algorithm, kid)
    except ValueError as exc:
        raise ValueError(f"{reference}: {exc}") from exc
