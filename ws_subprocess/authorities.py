"""Who is asked about tokens, and what remembers used ones, by the settings: the part of `app` that builds the gate's.

Law: what cannot be used keeps the daemon from starting, and says which setting names it.
"""

import os

from ws_subprocess.auth.client_tls import build_context
from ws_subprocess.auth.controller import Controller, ControllerSettings
from ws_subprocess.auth.gate import Authority, Ledger
from ws_subprocess.auth.tokens import StaticTokens, TokensFileError
from ws_subprocess.config.problems import ConfigError, Problem
from ws_subprocess.config.secrets import read_secret
from ws_subprocess.config.settings import CONTROLLER_URL_DEFAULT, Settings
from ws_subprocess.config.state import find_state_dir
from ws_subprocess.process.environ import is_refused
from ws_subprocess.store.used_tokens import UsedTokens


def find_controller_url(settings: Settings) -> str:
    """Return the controller that is asked, "" for none: where nobody else is named, the usual one."""
    if settings.controller_url or settings.jwt_keys or settings.jwt_jwks_url or settings.tokens_file:
        return settings.controller_url
    return CONTROLLER_URL_DEFAULT


def needs_state(settings: Settings) -> bool:
    """Tell whether some token counts once, which must be remembered."""
    return bool(settings.jwt_keys or settings.jwt_jwks_url or settings.token_once)


def build_authorities(settings: Settings) -> list[Authority]:
    """Return who is asked about tokens: those first that know at once, then the controller."""
    authorities: list[Authority] = []
    if settings.tokens_file:
        authorities.append(_read_tokens(settings.tokens_file))
    if settings.jwt_keys or settings.jwt_jwks_url:
        authorities.append(_build_signed(settings))
    if url := find_controller_url(settings):
        authorities.append(_build_controller(settings, url))
    return authorities


def _build_signed(settings: Settings) -> Authority:
    # Not at the top: where no token is signed, nobody should wait for cryptography.
    from ws_subprocess.auth.jwks import PublishedKeys
    from ws_subprocess.auth.key_ring import KeyRing
    from ws_subprocess.auth.signed import SignedTokens
    from ws_subprocess.config.signing_keys import build_rules, read_keys

    try:
        keys = KeyRing(read_keys(settings.jwt_keys, os.environ))
    except ValueError as exc:
        raise ConfigError(Problem("settings", "bad_config", f"jwt_keys = {exc}")) from exc
    published = PublishedKeys(settings.jwt_jwks_url) if settings.jwt_jwks_url else None
    rules, kind = build_rules(settings), settings.jwt_type
    return SignedTokens(keys, published, rules, is_refused, token_type=kind, is_once=settings.token_once)


def _build_controller(settings: Settings, url: str) -> Controller:
    ca, cert, key = settings.controller_ca, settings.controller_cert, settings.controller_key
    try:
        section = ControllerSettings(
            url=url,
            timeout_s=settings.controller_timeout_s,
            max_questions=settings.controller_max_questions,
            socket=settings.controller_socket,
            tls=build_context(url, ca, cert, key),
            hmac_key=_read_hmac_key(settings.controller_hmac_key),
            is_token_once=settings.token_once,
        )
    except ValueError as exc:
        raise ConfigError(Problem("settings", "bad_config", str(exc))) from exc
    return Controller(section, is_refused)


def _read_hmac_key(reference: str) -> bytes | None:
    try:
        return read_secret(reference, os.environ) if reference else None
    except ValueError as exc:
        raise ValueError(f"controller_hmac_key = {reference}: {exc}") from exc


def _read_tokens(path: str) -> StaticTokens:
    try:
        return StaticTokens(path, is_refused)
    except TokensFileError as exc:
        raise ConfigError(*(Problem(path, "bad_config", text) for text in exc.problems)) from exc


def build_ledger(settings: Settings) -> Ledger | None:
    """Return what remembers used tokens, None where no token can count once."""
    if not needs_state(settings):
        return None
    return UsedTokens(settings.state_dir or find_state_dir())
