"""Signed tokens at the door of a whole daemon, with a controller beside that must not hear of them."""

import asyncio
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from daemon import NATIVE, Reply
from knocking import Start
from observing import list_children, until
from signing import AUDIENCE, SECRET, encode, forge, good_claims, signing_key

from ws_subprocess.store.used_tokens import FILE_NAME

KID = {"alg": "HS256", "typ": "JWT", "kid": "main"}


@pytest.fixture
def signed(tmp_path: Path) -> dict[str, Any]:
    """Return settings of a daemon that believes tokens signed with SECRET."""
    key = tmp_path / "key"
    key.write_bytes(SECRET + b"\n")
    key.chmod(0o600)
    return {
        "jwt_keys": (f"main=HS256:file:{key}",),
        "jwt_audience": AUDIENCE,
        "jwt_issuer": "https://id.example",
        "state_dir": str(tmp_path / "state"),
    }


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    return good_claims(**{"iss": "https://id.example", "iat": now, "exp": now + 60, **changes})


def sign(**changes: Any) -> str:
    return f"/ws?token={forge(KID, claims(**changes))}"


def facts(reply: Reply) -> tuple[Any, ...]:
    """Return all that a client is told, but for the time of day."""
    own = ("date", "x-request-id")
    return reply.status, [(name, value) for name, value in reply.headers if name.lower() not in own], reply.body


async def test_a_signed_token_starts_its_command_and_nobody_is_asked(start: Start, signed: dict[str, Any]) -> None:
    daemon = await start(**signed)

    async with daemon.open(sign(command="/bin/sh", args=["-c", "echo by $0", "signature"]), NATIVE) as client:
        await client.hears(b"by signature")

    assert daemon.list_asked() == []


async def test_other_tokens_go_to_the_controller(start: Start, signed: dict[str, Any]) -> None:
    daemon = await start(**signed)

    async with daemon.open(daemon.grant("echo by the controller"), NATIVE) as client:
        await client.hears(b"by the controller")

    assert daemon.list_asked() == ["t0ken"]


async def test_a_read_only_token_lets_its_client_only_look(start: Start, signed: dict[str, Any]) -> None:
    daemon = await start(**signed)

    async with daemon.open(sign(command="/bin/cat", read_only=True), NATIVE) as client:
        await client.send(b"typed")
        assert (await client.hears_of("error"))["code"] == "read_only"


def make_bad_tokens() -> dict[str, str]:
    """Return a token for each reason to refuse one, and more."""
    good, now = forge(KID, claims()).split("."), int(time.time())
    return {
        "jwt_format": ".".join(good[:2]),
        "jwt_format padding": ".".join(good) + "=",
        "jwt_format JWE": ".".join([*good, *good[:2]]),
        "jwt_header": forge(KID | {"jku": "http://127.0.0.1:1/"}, claims()),
        "jwt_crit": forge(KID | {"crit": ["b64"], "b64": False}, claims()),
        "jwt_type": forge(KID | {"typ": "at+jwt"}, claims()),
        "jwt_alg": forge(KID | {"alg": "HS512"}, claims(), signing_key("HS512")),
        "jwt_alg none": f"{encode({'alg': 'none'})}.{good[1]}.AAAA",
        "jwt_key": forge(KID | {"kid": "../../dev/null"}, claims()),
        "jwt_signature": f"{good[0]}.{good[1]}.{encode(bytes(32))}",
        "jwt_claims": forge(KID, claims(command="sh")),
        "jwt_claims exp": forge(KID, claims(exp=10**30)),
        "jwt_expired": forge(KID, claims(iat=now - 300, exp=now - 200)),
        "jwt_not_yet": forge(KID, claims(nbf=now + 300)),
        "jwt_audience": forge(KID, claims(aud="other")),
        "jwt_issuer": forge(KID, claims(iss="other")),
    }


async def test_every_reason_to_refuse_a_token_looks_the_same(
    start: Start, signed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ws_subprocess.audit")
    daemon = await start(**signed)
    daemon.grant(token="opaque")
    del daemon.grants["opaque"]
    wanted = facts(await daemon.knock("/ws?token=opaque"))
    caplog.clear()

    tokens = make_bad_tokens()
    replies = {name: facts(await daemon.knock(f"/ws?token={token}")) for name, token in tokens.items()}

    assert {name for name, reply in replies.items() if reply != wanted} == set()
    assert wanted[0] == 403
    assert [record.__dict__["reason"] for record in caplog.records] == [name.split()[0] for name in tokens]
    assert daemon.list_asked() == ["opaque"]
    assert not list_children()


async def test_what_is_asked_afterwards_is_told_the_same(start: Start, signed: dict[str, Any]) -> None:
    """A browser learns of a refused handshake nothing but that: the page asks again, without a handshake."""
    daemon = await start(**signed)
    replies = []
    for name, token in make_bad_tokens().items():
        await daemon.knock(f"/ws?token={token}")
        replies.append((name, facts(await daemon.get(f"/ws?token={token}"))))

    assert {name for name, reply in replies if reply != replies[0][1]} == set()
    assert replies[0][1][0] == 403


async def test_a_token_with_a_jti_starts_one_command_of_fifty(start: Start, signed: dict[str, Any]) -> None:
    daemon = await start(**signed, max_handshakes_per_address=0)
    path = sign(jti="once")

    replies = await asyncio.gather(*(daemon.knock(path) for _ in range(50)))

    assert sorted(reply.status for reply in replies) == [101] + [403] * 49
    refusals = {str(facts(reply)) for reply in replies if reply.status == 403}
    assert refusals == {str(facts(await daemon.knock("/ws?token=opaque")))}
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_a_used_token_is_used_for_the_next_daemon_as_well(start: Start, signed: dict[str, Any]) -> None:
    path = sign(jti="once")
    first, second = await start(**signed), await start(**signed)

    assert (await first.knock(path)).status == 101
    assert (await second.knock(path)).status == 403
    await until(lambda: not len(first.app.registry), "no session")


async def test_a_token_without_jti_may_be_used_again(start: Start, signed: dict[str, Any]) -> None:
    daemon = await start(**signed)
    path = sign()

    assert [(await daemon.knock(path)).status for _ in range(3)] == [101] * 3
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_with_token_once_no_signed_token_may_be_used_again(start: Start, signed: dict[str, Any]) -> None:
    daemon = await start(**signed, token_once=True)
    path = sign()

    assert [(await daemon.knock(path)).status for _ in range(2)] == [101, 403]
    await until(lambda: not len(daemon.app.registry), "no session")


async def test_a_token_is_not_used_up_by_a_command_that_may_not_run(start: Start, signed: dict[str, Any]) -> None:
    strict = await start(**signed, allow_commands=("/bin/echo",))
    lenient = await start(**signed)
    path = sign(jti="once")

    assert (await strict.knock(path)).status == 403
    assert (await lenient.knock(path)).status == 101
    await until(lambda: not len(lenient.app.registry), "no session")


async def test_neither_token_nor_key_stands_in_the_log(
    start: Start, signed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", "ws_subprocess")
    daemon = await start(**signed)
    tokens = [forge(KID, claims(jti="canary-jti", env={"KEY": "canary-value"})), *make_bad_tokens().values()]

    for token in tokens:
        await daemon.knock(f"/ws?token={token}")
    await until(lambda: not len(daemon.app.registry), "no session")

    text = "\n".join(str(record.__dict__) for record in caplog.records if record.name.startswith("ws_subprocess"))
    assert "session started" in text
    secrets = {
        SECRET.decode(),
        "canary-jti",
        "canary-value",
        *(part for token in tokens for part in token.split(".")[1:]),
    }
    assert [secret for secret in secrets if len(secret) > 8 and secret in text] == []


async def test_a_client_that_leaves_while_its_token_is_used_up_starts_nothing_and_the_audit_says_so(
    start: Start, signed: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ws_subprocess.audit")
    daemon = await start(**signed)
    knock = sign(jti="once", command="/bin/sh", sub="me")

    with closing(sqlite3.connect(Path(signed["state_dir"]) / FILE_NAME, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        knocking = asyncio.ensure_future(daemon.knock(knock))
        await until(lambda: "used-tokens_0" in {thread.name for thread in threading.enumerate()}, "the claim")
        knocking.cancel()
        await until(lambda: caplog.records, "the line")
        other.execute("COMMIT")
    again = await daemon.knock(knock)

    left, refused = (vars(record) for record in caplog.records)
    assert (left["decision"], left["principal"], left["command"]) == ("abandoned", "me", "sh")
    assert (again.status, refused["reason"]) == (403, "token_used")
    assert not list_children()
