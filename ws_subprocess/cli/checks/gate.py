"""Those whom the gate asks: the controller, the issuer of signed tokens and its keys, the file of static tokens."""

import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path

from ws_subprocess.auth.client_tls import build_context
from ws_subprocess.auth.keys import SECRET_MIN_BYTES
from ws_subprocess.auth.probe import Published, look_at_issuer, reach, read_certificate_expiry
from ws_subprocess.auth.signature import KEY_MIN_BYTES
from ws_subprocess.auth.tokens_file import read_tokens
from ws_subprocess.authorities import find_controller_url
from ws_subprocess.cli.checks.expiry import judge_expiry
from ws_subprocess.cli.checks.finding import Finding, State, ok, problem, problem_from, show_some, warning
from ws_subprocess.config.secrets import read_secret, split_key
from ws_subprocess.config.settings import Settings
from ws_subprocess.config.signing_keys import read_key, read_keys
from ws_subprocess.doors import command_access, payloads, process, rpc, terminal
from ws_subprocess.process.environ import is_refused

# Whoever waits for a person's answer needs not wait as long as a client's question may take.
PROBE_TIMEOUT_S = 5.0
# Before this program was written.
_YEAR_MIN = 2025
_YEAR_MAX = 2100


def check_controller(settings: Settings) -> Iterator[Finding]:
    """Tell whether the controller takes connections; nothing is asked, no token is sent."""
    url = find_controller_url(settings)
    if not url:
        yield ok("controller", "none: tokens are signed or static")
        return
    try:
        tls = build_context(url, settings.controller_ca, settings.controller_cert, settings.controller_key)
    except ValueError as exc:
        yield problem_from("controller", str(exc))
        return
    yield from _reach_controller(settings, url, tls)
    if settings.controller_cert:
        pem = Path(settings.controller_cert).read_bytes()
        yield judge_expiry("controller", f"controller_cert {settings.controller_cert}", read_certificate_expiry(pem))
    if settings.controller_hmac_key:
        yield _check_hmac_key(settings.controller_hmac_key)


def check_jwt_keys(settings: Settings) -> Iterator[Finding]:
    """Tell whether each key can be read and is strong enough for its algorithm."""
    if not settings.jwt_keys:
        yield ok("jwt_keys", "none")
    found = [_check_key(reference) for reference in settings.jwt_keys]
    yield from found
    if all(finding.state is State.OK for finding in found):
        try:
            read_keys(settings.jwt_keys, os.environ)
        except ValueError as exc:
            yield problem_from("jwt_keys", str(exc))


def check_issuer(settings: Settings) -> Iterator[Finding]:
    """Tell how many keys the issuer publishes, and how far the clocks differ."""
    published: Published | None = None
    if not settings.jwt_jwks_url:
        yield ok("jwt_jwks_url", "none")
    else:
        try:
            published = look_at_issuer(settings.jwt_jwks_url, PROBE_TIMEOUT_S)
        except ValueError as exc:
            advice = "start it, or check jwt_jwks_url; meanwhile tokens of unknown keys get 503"
            yield problem("jwt_jwks_url", f"{settings.jwt_jwks_url}: {exc}", advice)
        else:
            yield _judge_keys(settings.jwt_jwks_url, published.keys)
    yield judge_clock(time.time(), published.ahead_s if published else None, settings.jwt_leeway_s)


def judge_clock(now: float, ahead_s: float | None, leeway_s: float) -> Finding:
    """Return what is to be said of our clock.

    Args:
        now: Unix time.
        ahead_s: How far the issuer's clock is ahead of ours, None when nobody told.
        leeway_s: How far it may be.
    """
    shown = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now))
    advice = "set the clock, and keep it right with NTP (chrony, systemd-timesyncd)"
    if not _YEAR_MIN <= time.gmtime(now).tm_year < _YEAR_MAX:
        return problem("clock", f"{shown} cannot be right", advice)
    if ahead_s is None:
        return ok("clock", f"{shown}; nobody to compare it with")
    found = f"{shown}, the issuer's is {abs(ahead_s):.0f} s {'ahead' if ahead_s > 0 else 'behind'}"
    found = f"{found}, jwt_leeway_s is {leeway_s:g}"
    # The header has whole seconds, and the answer was on its way for a while.
    if abs(ahead_s) > leeway_s + 2:
        return problem("clock", found, advice)
    return warning("clock", found, advice) if abs(ahead_s) > leeway_s / 2 + 2 else ok("clock", found)


def check_tokens_file(settings: Settings) -> Iterator[Finding]:
    """Tell how many static tokens there are, which have expired, and what of them leads nowhere."""
    path = settings.tokens_file
    if not path:
        yield ok("tokens_file", "none")
        return
    reading = read_tokens(path, is_refused)
    if reading.problems:
        yield from (problem_from("tokens_file", f"{path}: {text}") for text in reading.problems)
        return
    now, tokens = time.time(), list(reading.tokens.values())
    expired = [token.name for token in tokens if token.expires_at is not None and token.expires_at <= now]
    if expired:
        yield warning("tokens_file", f"{path}: {len(expired)} expired: {show_some(expired)}", "take them out")
    commands = sorted({token.fields["command"] for token in tokens if "command" in token.fields})
    absent = [command for command in commands if not os.access(command, os.X_OK)]
    if absent:
        found = f"{path}: names what cannot be executed: {show_some(absent)}"
        yield warning("tokens_file", found, "install it, or correct its path")
    shut = sorted(frozenset[str]().union(*(token.doors for token in tokens)) - _find_open_doors(settings))
    if shut:
        found = f"{path}: names doors that are not open: {show_some(shut)}"
        yield warning("tokens_file", found, "open them, or correct their names")
    yield ok("tokens_file", f"{path}: {len(tokens)} token{'' if len(tokens) == 1 else 's'}")


def _find_open_doors(settings: Settings) -> set[str]:
    is_open = {
        terminal.DOOR: True,
        process.DOOR: settings.process_door or settings.process_listen,
        command_access.DOOR: settings.commands_file,
        payloads.DOOR: settings.payloads_door,
        rpc.DOOR: settings.rpc_door,
    }
    return {door for door in is_open if is_open[door]}


def _check_key(reference: str) -> Finding:
    _, algorithm, secret = split_key(reference)
    try:
        read_key(reference, os.environ)
    except ValueError as exc:
        return problem_from("jwt_keys", str(exc))
    size = f"{len(read_secret(secret, os.environ))} bytes" if algorithm in SECRET_MIN_BYTES else "a public key"
    return ok("jwt_keys", f"{reference}: {size}, fit for {algorithm}")


def _reach_controller(settings: Settings, url: str, tls: ssl.SSLContext | None) -> Iterator[Finding]:
    timeout_s = min(settings.controller_timeout_s, PROBE_TIMEOUT_S)
    try:
        reached = reach(url, tls, settings.controller_socket, timeout_s)
    except ssl.SSLCertVerificationError as exc:
        found = f"{url}: its certificate is refused: {exc.verify_message}"
        yield problem("controller", found, "renew it, or name who signed it in controller_ca")
    except ssl.SSLError as exc:
        yield problem("controller", f"{url}: TLS failed: {exc.reason or exc}", "check that it speaks https there")
    except OSError as exc:
        where = f" through {settings.controller_socket}" if settings.controller_socket else ""
        found = f"{url}{where}: {exc.strerror or exc}"
        yield problem("controller", found, "start it, or check controller_url and controller_socket")
    else:
        found = f"{url}: reached at {reached.where} in {reached.took_s * 1000:.0f} ms"
        expires_at = reached.certificate_expires_at
        yield ok("controller", found) if expires_at is None else judge_expiry("controller", found, expires_at)


def _check_hmac_key(reference: str) -> Finding:
    try:
        key = read_secret(reference, os.environ)
    except ValueError as exc:
        return problem_from("controller", f"controller_hmac_key {reference}: {exc}")
    found = f"controller_hmac_key {reference}: {len(key)} bytes"
    if len(key) < KEY_MIN_BYTES:
        return problem("controller", f"{found}, at least {KEY_MIN_BYTES}", "make one with `openssl rand -hex 32`")
    return ok("controller", found)


def _judge_keys(url: str, count: int) -> Finding:
    if not count:
        return problem("jwt_jwks_url", f"{url}: none of its keys can be used", "let it publish RSA, EC or Ed25519 keys")
    return ok("jwt_jwks_url", f"{url}: {count} usable key{'' if count == 1 else 's'}")
