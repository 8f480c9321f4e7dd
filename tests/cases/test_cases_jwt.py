"""The catalogue's signed tokens: whatever is wrong with one, the client is told the same, and the audit why."""

import asyncio
import json
import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from catalogue import Entry, case
from daemon import Daemon, Reply, run_daemon
from daemon_process import PROGRAM, StartDaemon, send_json
from expecting import (
    PROBLEM,
    SAME_ID,
    Audit,
    assert_nobody_was_asked,
    assert_nothing_ran,
    count_starts,
    expect_http,
    variants,
)
from observing import list_children, until
from raw_peer import exchange
from running_server import handshake
from scripted_server import scripted
from signed import AUDIENCE, HEADER, SECRET, build_claims, build_raw, build_token, encode, sign
from terminal_client import Heard, hear_all, hear_until

from ws_subprocess.auth.claims import ClaimRules
from ws_subprocess.auth.key_ring import KeyRing
from ws_subprocess.auth.keys import load_verifying_key
from ws_subprocess.auth.signed import SignedTokens
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest

StartVerifying = Callable[..., Awaitable[Daemon]]
NOW = int(time.time())
DAY_S = 86_400


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The file of the secret that tokens are signed with."""
    path = tmp_path / "key"
    path.write_bytes(SECRET)
    path.chmod(0o600)
    return path


@pytest.fixture
def verifying(key_file: Path, tmp_path: Path) -> dict[str, Any]:
    """The settings of a daemon that verifies tokens; its controller is asked about all others."""
    return {
        "jwt_keys": (f"HS256:file:{key_file}",),
        "jwt_audience": AUDIENCE,
        "state_dir": str(tmp_path / "state"),
    }


@pytest.fixture
def start_verifying(start: StartVerifying, verifying: dict[str, Any]) -> StartVerifying:
    """A function that starts such a daemon, with further settings as keywords."""
    return lambda **settings: start(**{**verifying, **settings})


async def present(daemon: Daemon, token: str) -> Reply:
    """Knock with a token."""
    return await daemon.knock(f"/ws?token={quote(token, safe='')}", PROBLEM, SAME_ID)


async def expect_refusals(entry: Entry, daemon: Daemon, audit: Audit, tokens: dict[str, str]) -> None:
    """Fail unless each token is refused as its entry says, all in the same words, and nobody else hears of them."""
    answers = set()
    with variants() as variant:
        for name, token in tokens.items():
            with variant(name):
                reply = await present(daemon, token)
                expect_http(entry, reply, audit, variant=name)
                answers.add(
                    (reply.body, *(pair for pair in reply.headers if pair[0].lower() not in ("date", "x-request-id")))
                )
    assert len(answers) == 1
    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


async def expect_good(daemon: Daemon, *tokens: str) -> None:
    """Fail unless each token opens the door."""
    for token in tokens:
        assert (await present(daemon, token)).status == 101
    await until(lambda: not len(daemon.app.registry), "no session")


def list_tokens(case_id: str) -> dict[str, str]:
    """Return what is presented, by variant."""
    header, claims = json.dumps(HEADER).encode(), json.dumps(build_claims()).encode()
    good = build_token()
    first, second, third = good.split(".")
    nested = 5000
    match case_id:
        case "JW-03":
            return {"HS512": build_token({"alg": "HS512"}, "sha512"), "HS384": build_token({"alg": "HS384"}, "sha384")}
        case "JW-08":
            return {
                "=": good + "=",
                "newline": good + "\n",
                "space": f"{first} .{second}.{third}",
                "+": f"{first}.{second}+.{third}",
                "/": f"{first}.{second}/.{third}",
                "tab inside": f"{first[:9]}\t{first[9:]}.{second}.{third}",
                "= in the middle": f"{first}=.{second}.{third}",
                "another spelling": f"{first}.{second}.{third[:-1]}{chr(ord(third[-1]) ^ 1)}",
            }
        case "JW-09":
            return {
                "2": f"{first}.{second}",
                "4": f"{good}.{third}",
                "5": f"{first}.{second}.{third}.{second}.{third}",
                "no signature": f"{first}.{second}.",
                "no claims": f"{first}..{third}",
                "no header": f".{second}.{third}",
            }
        case "JW-11":
            return {
                "header no JSON": sign(b'{"alg": "HS256"', claims),
                "header a list": sign(json.dumps([HEADER]).encode(), claims),
                "header nested": sign(b'{"alg":' + b"[" * 1000, claims),
                "header no UTF-8": sign(b'{"alg": "\xff"}', claims),
                "claims no JSON": sign(header, b"claims"),
                "claims a list": sign(header, b"[" + claims + b"]"),
                "claims nested": sign(header, b'{"a":' * (nested // 5) + b"1" + b"}" * (nested // 5)),
                "claims nested without end": sign(header, b"[" * nested),
                "claims no UTF-8": sign(header, b'{"exp": "\xff"}'),
                "duplicate claims": build_raw(exp=f'{NOW + 60}, "exp": {NOW + 60}'),
            }
        case "JW-13":
            return {"missing": build_token(exp=...), "null": build_token(exp=None), "no iat": build_token(iat=...)}
        case "JW-15":
            texts = {
                "string": f'"{NOW + 60}"',
                "bool": "true",
                "float": f"{NOW + 60}.5",
                "infinity": "Infinity",
                "NaN": "NaN",
                "1e400": "1e400",
                "10^30": str(10**30),
                "list": f"[{NOW + 60}]",
                "negative": "-1",
                "lives too long": str(int(time.time()) + 3661),
            }
            return {name: build_raw(exp=text) for name, text in texts.items()}
        case "JW-16":
            early = {"iat": int(time.time()) + 40, "exp": int(time.time()) + 100}
            return {"nbf": build_token(nbf=int(time.time()) + 40), "iat": build_token(**early)}
        case "JW-17":
            audiences = [..., "other", [], ["other"], None, 5, {AUDIENCE: 1}, f"{AUDIENCE}2", [[AUDIENCE]]]
            return {repr(audience): build_token(aud=audience) for audience in audiences}
        case "JW-19":
            headers = [{"crit": ["exp"]}, {"crit": ["x"], "x": 1}, {"crit": []}, {"b64": False}, {"b64": True}]
            return {str(header): build_token(header) for header in headers}
        case "JW-20":
            kids = ["../../dev/null", "/dev/null", "' OR 1=1 --", "x" * 4000, "unknown", "", 1, None, ["k1"]]
            return {repr(kid)[:20]: build_token({"kid": kid}) for kid in kids}
        case "JW-23":
            return {repr(typ): build_token({"typ": typ}) for typ in ("at+jwt", "JWE", ..., None, 5, "")}
        case "JW-25":
            changes: list[dict[str, Any]] = [{"sub": value} for value in (5, True, ["x"], {})]
            changes += [{"command": value} for value in ("bin/true", "", ..., None, 5, "/bin/true\0")]
            return {str(change): build_token(**change) for change in changes}
    raise KeyError(case_id)


@case("JW-03", "JW-08", "JW-09", "JW-11", "JW-13", "JW-15", "JW-16", "JW-17", "JW-19", "JW-25")
async def test_a_token_that_is_not_good(start_verifying: StartVerifying, audit: Audit, entry: Entry) -> None:
    # Whoever passes what is no signed token on to the controller must not do so with one that is no good.
    daemon = await start_verifying(controller_url="") if entry.id in ("JW-09", "JW-11") else await start_verifying()

    await expect_refusals(entry, daemon, audit, list_tokens(entry.id))

    await expect_good(daemon, build_token())


@case("JW-03")
async def test_it_takes_the_same_time_to_refuse_whatever_is_wrong(
    start_verifying: StartVerifying, audit: Audit, entry: Entry
) -> None:
    daemon = await start_verifying()
    tokens = {name: next(iter(list_tokens(name).values())) for name in ("JW-03", "JW-08", "JW-13", "JW-17", "JW-25")}
    tokens["signature"] = build_token()[:-4] + "AAAA"
    took_s: dict[str, list[float]] = {name: [] for name in tokens}

    for _ in range(40):
        for name, token in tokens.items():
            begun_s = time.perf_counter()
            reply = await present(daemon, token)
            took_s[name].append(time.perf_counter() - begun_s)
            if name == entry.id:
                expect_http(entry, reply, audit)

    medians_s = {name: statistics.median(times_s) for name, times_s in took_s.items()}
    # What an HMAC takes is a thousandth of this.
    assert max(medians_s.values()) - min(medians_s.values()) < 0.005, medians_s


@case("JW-10")
async def test_a_token_that_is_too_long(start_verifying: StartVerifying, audit: Audit, entry: Entry) -> None:
    daemon = await start_verifying()
    good = build_token()
    long = good + "A" * (8193 - len(good))

    expect_http(entry, await present(daemon, long), audit)
    expect_http(entry, await present(daemon, good + "A" * 1024**2), variant="1 MB")

    assert_nobody_was_asked(daemon)
    assert_nothing_ran(daemon)


@case("JW-14")
async def test_a_token_that_has_expired(start_verifying: StartVerifying, audit: Audit, entry: Entry) -> None:
    daemon = await start_verifying(jwt_leeway_s=60)
    now = int(time.time())

    await expect_refusals(entry, daemon, audit, {"61 s ago": build_token(iat=now - 100, exp=now - 61)})
    await expect_good(daemon, build_token(iat=now - 100, exp=now - 50))


@case("JW-14")
async def test_when_exactly_a_token_has_expired(entry: Entry) -> None:
    entry.wants("http")
    rules = ClaimRules(AUDIENCE, leeway_s=60)
    keys = KeyRing([load_verifying_key(SECRET, "HS256")])
    tokens = SignedTokens(keys, None, rules, lambda name: False, clock=lambda: float(NOW))
    found = {}

    for age_s in (59, 60, 61):
        token = build_token(iat=NOW - 100, exp=NOW - age_s)
        try:
            found[age_s] = bool(await tokens.ask(Credentials(token), LaunchRequest("terminal", "local")))
        except GateError as error:
            found[age_s] = error.reason

    assert found == {59: True, 60: entry.expect.code, 61: entry.expect.code}
    await tokens.close()


@case("JW-20", "JW-26")
async def test_a_key_that_there_is_not(
    start_verifying: StartVerifying, audit: Audit, key_file: Path, entry: Entry
) -> None:
    """With overlap the old key still counts; later only the new one does."""
    keys = (f"k2=HS256:file:{key_file}", f"k1=HS256:file:{key_file}")
    overlapping, later = await start_verifying(jwt_keys=keys), await start_verifying(jwt_keys=keys[:1])
    old, new = build_token({"kid": "k1"}), build_token({"kid": "k2"})

    await expect_refusals(entry, later, audit, {"old": old} if entry.id == "JW-26" else list_tokens("JW-20"))

    await expect_good(overlapping, old, new)
    await expect_good(later, new)


@case("JW-20")
async def test_the_name_of_a_key_that_is_too_long_for_any_token(
    start_verifying: StartVerifying, audit: Audit, entry: Entry
) -> None:
    daemon = await start_verifying()

    expect_http(entry, await present(daemon, build_token({"kid": "x" * 10_000})), audit, variant="10 KB")

    assert_nothing_ran(daemon)


@case("JW-21")
async def test_a_token_that_brings_its_own_key(start_verifying: StartVerifying, audit: Audit, entry: Entry) -> None:
    daemon = await start_verifying()
    async with scripted(b"") as issuer:
        key = {"kty": "oct", "k": encode(SECRET), "alg": "HS256"}
        headers: list[dict[str, Any]] = [{"jku": issuer.url}, {"x5u": issuer.url}, {"jwk": key}, {"x5c": ["MIIB"]}]

        await expect_refusals(entry, daemon, audit, {str(header): build_token(header) for header in headers})

        assert issuer.connections == 0


@case("JW-23")
async def test_a_token_of_another_type(start_verifying: StartVerifying, audit: Audit, entry: Entry) -> None:
    either, strict = await start_verifying(), await start_verifying(jwt_type="terminal+jwt")
    tokens = list_tokens("JW-23")

    await expect_refusals(entry, strict, audit, {**tokens, "JWT": build_token()})
    absent = tokens.pop(repr(...))
    await expect_refusals(entry, either, audit, tokens)

    await expect_good(strict, build_token({"typ": "terminal+jwt"}))
    await expect_good(either, absent)


@case("JW-24")
async def test_a_token_that_was_used(verifying: dict[str, Any], audit: Audit, entry: Entry) -> None:
    token = build_token(jti="once", command="/bin/sleep", args=["1000"])

    async with run_daemon("ours", **verifying) as daemon:
        replies = await asyncio.gather(*(present(daemon, token) for _ in range(50)))
        refused = [reply for reply in replies if reply.status != 101]
        await until(lambda: not len(daemon.app.registry), "no session")
        assert count_starts(daemon) == 1
    async with run_daemon("ours", **verifying) as again:
        refused.append(await present(again, token))
        assert_nothing_ran(again)
        # Without a jti a token may be used again.
        await expect_good(again, *[build_token()] * 2)

    assert len(refused) == 50
    assert len({reply.body for reply in refused}) == 1
    for reply in refused:
        expect_http(entry, reply, audit)
    assert [facts["reason"] for facts in audit.list_refusals()] == [entry.expect.code] * 50
    assert not list_children()


# The wall clock, as the file's number of seconds sets it; the monotonic one nobody can set.
SET_CLOCK = """
import pathlib, runpy, sys, time
offset, now = pathlib.Path(sys.argv.pop(1)), time.time
time.time = lambda: now() + float(offset.read_text())
del sys.argv[1:3]
runpy.run_module("ws_subprocess", run_name="__main__", alter_sys=True)
"""


@case("JW-28")
async def test_a_clock_that_is_set_back(
    start_daemon: StartDaemon, tmp_path: Path, key_file: Path, entry: Entry
) -> None:
    entry.wants("ok")
    offset = tmp_path / "offset"
    offset.write_text("0")
    keys = ("--jwt-key", f"HS256:file:{key_file}", "--jwt-audience", AUDIENCE, "--state-dir", str(tmp_path / "state"))
    daemon = await start_daemon(*keys, program=(PROGRAM[0], "-c", SET_CLOCK, str(offset), *PROGRAM[1:]))
    echo = {"command": "/bin/sh", "args": ["-c", "stty raw -echo; echo ready; exec cat"]}

    async with daemon.open(build_token(**echo)) as lasting, daemon.open(build_token(**echo, max_lifetime_s=2)) as short:
        begun_s = time.monotonic()
        await hear_until(lasting, b"ready\n")
        await hear_until(short, b"ready\n")
        offset.write_text(str(-3 * DAY_S))
        await lasting.send(b"still here")
        heard = await hear_until(lasting, b"still here", Heard(hello={"tty": True}))
        refused = await exchange(daemon.port, handshake(f"/ws?token={build_token()}"))
        ended = await hear_all(short, Heard(hello={"tty": True}))
        lived_s = time.monotonic() - begun_s
        await send_json(lasting, type="signal", name="KILL")
        killed = await hear_all(lasting, heard)

    assert refused.status == 403
    assert '"reason": "jwt_not_yet"' in daemon.log
    assert ended.close_code == 4410
    assert 1.5 < lived_s < 10
    assert killed.ending == (None, "KILL")
