"""Keys that an issuer publishes: fetched when needed, kept while it is away, never asked for more often than agreed."""

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from asking import REQUEST
from certificates import make_authority, make_certificate, serve_tls
from jwt.algorithms import ECAlgorithm
from observing import until
from scripted_server import respond, scripted
from signing import authority, forge, make_private, private_pem, signing_key

from ws_subprocess.auth.jwks import (
    BODY_MAX_BYTES,
    KEPT_MAX_S,
    KEYS_MAX,
    MAX_AGE_S,
    PAUSE_S,
    TOO_OLD_S,
    PublishedKeys,
    parse_keys,
)
from ws_subprocess.auth.jws import is_signed
from ws_subprocess.auth.keys import SigningKey, load_signing_key
from ws_subprocess.auth.signed import SignedTokens
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def publish(*kids: str, padding_bytes: int = 0) -> bytes:
    """Return a whole answer with one P-256 key under each of these names."""
    jwk = ECAlgorithm.to_jwk(make_private("P-256").public_key(), as_dict=True)
    return respond(json.dumps({"keys": [{**jwk, "kid": kid} for kid in kids]}) + " " * padding_bytes)


def key_named(kid: str) -> SigningKey:
    return load_signing_key(private_pem("P-256"), "ES256", kid)


def token_of(kid: str | None) -> Credentials:
    header = {"alg": "ES256"} if kid is None else {"alg": "ES256", "kid": kid}
    return Credentials(forge(header, key=key_named("")))


@asynccontextmanager
async def issuing(url: str, clock: Clock, timeout_s: float = 5.0, **options: Any) -> AsyncIterator[SignedTokens]:
    keys = authority(published=PublishedKeys(url, clock, timeout_s), **options)
    try:
        yield keys
    finally:
        await keys.close()


async def is_granted(keys: SignedTokens, kid: str | None) -> bool:
    return await keys.ask(token_of(kid), REQUEST) is not None


async def refuse(keys: SignedTokens, kid: str | None) -> GateError:
    with pytest.raises(GateError) as caught:
        await keys.ask(token_of(kid), REQUEST)
    return caught.value


@pytest.mark.parametrize("kid", ["a", None])
async def test_keys_are_fetched_with_the_first_token_and_kept(kid: str | None) -> None:
    async with scripted(publish("a")) as issuer, issuing(issuer.url, Clock()) as keys:
        before = len(issuer.requests)
        for _ in range(3):
            assert await is_granted(keys, kid)

        assert (before, len(issuer.requests)) == (0, 1)


async def test_many_tokens_at_once_ask_one_question() -> None:
    async with scripted(publish("a")) as issuer, issuing(issuer.url, Clock()) as keys:
        granted = await asyncio.gather(*(is_granted(keys, "a") for _ in range(50)))

        assert all(granted)
        assert len(issuer.requests) == 1


async def test_an_unknown_key_is_looked_for_but_not_all_the_time() -> None:
    clock = Clock()
    async with scripted(publish("old")) as issuer, issuing(issuer.url, clock) as keys:
        assert await is_granted(keys, "old")
        issuer.answer = publish("old", "new")

        clock.now += PAUSE_S - 0.1
        refused = await refuse(keys, "new")
        asked_early = len(issuer.requests)
        clock.now += 0.2

        assert (refused.code, refused.reason) == ("denied", "jwt_key")
        assert asked_early == 1
        assert await is_granted(keys, "new")
        for number in range(20):
            assert (await refuse(keys, f"guess{number}")).reason == "jwt_key"
        assert len(issuer.requests) == 2


async def test_a_key_that_is_withdrawn_is_believed_no_more_after_the_next_answer() -> None:
    clock = Clock()
    async with scripted(publish("old")) as issuer, issuing(issuer.url, clock) as keys:
        assert await is_granted(keys, "old")
        issuer.answer = publish("new")
        clock.now += PAUSE_S

        assert await is_granted(keys, "new")
        assert (await refuse(keys, "old")).reason == "jwt_key"


async def test_a_wrong_signature_of_a_known_key_makes_nobody_ask() -> None:
    async with scripted(publish("a")) as issuer, issuing(issuer.url, clock := Clock()) as keys:
        assert await is_granted(keys, "a")
        clock.now += 2 * PAUSE_S
        signed, _, signature = token_of("a").token.rpartition(".")
        other = Credentials(f"{signed}.{'A' * len(signature)}")

        with pytest.raises(GateError) as caught:
            await keys.ask(other, REQUEST)

        assert caught.value.reason == "jwt_signature"
        assert len(issuer.requests) == 1


async def test_old_keys_are_asked_for_anew_without_anybody_waiting() -> None:
    clock = Clock()
    is_answering = asyncio.Event()

    async def answer_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_answering.wait()
        writer.write(publish("new"))

    async with scripted(publish("old")) as issuer, issuing(issuer.url, clock) as keys:
        assert await is_granted(keys, "old")
        issuer.answer = answer_late
        clock.now += MAX_AGE_S + 1

        assert await is_granted(keys, "old")
        await until(lambda: len(issuer.requests) == 2, "the second question")
        assert await is_granted(keys, "old")
        is_answering.set()
        assert await is_granted(keys, "new")


async def test_keys_that_nobody_has_asked_for_in_a_long_time_are_asked_for_before_they_are_believed() -> None:
    clock = Clock()
    async with scripted(publish("old")) as issuer, issuing(issuer.url, clock) as keys:
        assert await is_granted(keys, "old")
        issuer.answer = publish("new")
        clock.now += TOO_OLD_S + 1

        assert (await refuse(keys, "old")).reason == "jwt_key"


async def test_keys_are_used_while_the_issuer_is_away_for_a_day_and_no_longer() -> None:
    clock = Clock()
    async with scripted(publish("a")) as issuer, issuing(issuer.url, clock) as keys:
        assert await is_granted(keys, "a")
        issuer.answer = respond("", "500 Internal Server Error")

        clock.now += KEPT_MAX_S
        assert await is_granted(keys, "a")
        clock.now += PAUSE_S
        error = await refuse(keys, "a")
        issuer.answer = publish("a")
        clock.now += PAUSE_S

        assert (error.code, error.retry_after_s) == ("gate_unavailable", 10)
        assert "status 500" in error.detail
        assert await is_granted(keys, "a")
        assert len(issuer.requests) == 4


@pytest.mark.parametrize(
    "answer",
    [
        respond("", "500 Internal Server Error"),
        respond("", "302 Found", "Location: http://127.0.0.1:1/"),
        respond("no JSON"),
        respond("[]"),
        respond('{"keys": {}}'),
        respond('{"keys": [1]}'),
        respond('{"keys": [], "keys": []}'),
        respond(json.dumps({"keys": [{}] * (KEYS_MAX + 1)})),
        publish("b", padding_bytes=BODY_MAX_BYTES),
        b"no HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
    ],
)
async def test_keys_are_kept_while_the_issuer_makes_no_sense(answer: bytes) -> None:
    clock = Clock()
    async with scripted(publish("a")) as issuer, issuing(issuer.url, clock, timeout_s=0.3) as keys:
        assert await is_granted(keys, "a")
        issuer.answer = answer
        clock.now += MAX_AGE_S + 1

        assert (await refuse(keys, "b")).reason == "jwt_key"
        assert await is_granted(keys, "a")
        assert len(issuer.requests) == 2


async def test_without_any_keys_nobody_can_say_and_clients_are_told_when_to_come_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = Clock()
    async with scripted(publish("a")) as issuer:
        url = issuer.url
    async with issuing(url, clock) as keys:
        error = await refuse(keys, "a")

        assert (error.code, error.reason, error.retry_after_s) == ("gate_unavailable", "gate_unavailable", 10)
        assert "127.0.0.1" in error.detail
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        clock.now += 4
        assert (await refuse(keys, "a")).retry_after_s == 6
        assert len(caplog.records) == 1


async def test_an_issuer_that_does_not_answer_is_waited_for_no_longer_than_agreed() -> None:
    async def say_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with scripted(say_nothing) as issuer, issuing(issuer.url, Clock(), timeout_s=0.1) as keys:
        error = await refuse(keys, "a")

        assert (error.code, error.detail) == ("gate_unavailable", "jwt_jwks_url: no complete answer within 0.1 s")


async def test_a_client_that_leaves_cancels_nothing_for_the_others() -> None:
    is_answering = asyncio.Event()

    async def answer_late(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_answering.wait()
        writer.write(publish("a"))

    async with scripted(answer_late) as issuer, issuing(issuer.url, Clock()) as keys:
        first, second = (asyncio.ensure_future(is_granted(keys, "a")) for _ in range(2))
        await until(lambda: issuer.requests, "the question")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        is_answering.set()

        assert await second
        assert len(issuer.requests) == 1


async def test_closing_ends_a_question_under_way() -> None:
    async def say_nothing(_: asyncio.StreamReader, __: asyncio.StreamWriter) -> None:
        return

    async with scripted(say_nothing) as issuer:
        async with issuing(issuer.url, Clock()) as keys:
            waiting = asyncio.ensure_future(refuse(keys, "a"))
            await until(lambda: issuer.requests, "the question")

        assert (await waiting).code == "gate_unavailable"
        assert not [task for task in asyncio.all_tasks() if task.get_name() == "jwks"]


async def test_own_keys_need_no_issuer() -> None:
    async with scripted(publish("a")) as issuer:
        url = issuer.url
    published = PublishedKeys(url, Clock())
    keys = authority(signing_key("ES256"), key_named("mine"), published=published)

    assert await is_granted(keys, "mine")
    assert await is_granted(keys, None)
    await keys.close()


async def test_own_keys_come_first_and_the_issuers_are_asked_for_what_is_not_theirs() -> None:
    async with scripted(publish("a")) as issuer:
        keys = authority(signing_key(), published=PublishedKeys(issuer.url, Clock()))

        assert await keys.ask(Credentials(forge()), REQUEST)
        before = len(issuer.requests)
        assert await is_granted(keys, "a")
        assert (before, len(issuer.requests)) == (0, 1)
        await keys.close()


@pytest.mark.parametrize(
    "header", [{"alg": "none"}, {"alg": "ES256", "jku": "http://127.0.0.1:1/"}, {"alg": "ES256", "crit": []}]
)
async def test_no_token_with_a_bad_header_makes_anybody_ask(header: dict[str, Any]) -> None:
    async with scripted(publish("a")) as issuer, issuing(issuer.url, Clock()) as keys:
        token = forge(header, key=key_named(""))
        with pytest.raises(GateError) as caught:
            await keys.ask(Credentials(token), REQUEST)

        assert is_signed(token)
        assert caught.value.code == "denied"
        assert issuer.requests == []


async def test_an_issuer_whose_certificate_nobody_knows_is_not_asked(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "issuer", make_authority(tmp_path))
    async with scripted(publish("a"), serve_tls(certificate)) as issuer:
        async with issuing(f"https://127.0.0.1:{issuer.port}/keys", Clock()) as keys:
            error = await refuse(keys, "a")

        assert error.code == "gate_unavailable"
        assert "its certificate is refused" in error.detail
        assert issuer.requests == []


async def test_proxies_of_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    async with scripted(publish("a")) as issuer, issuing(issuer.url, Clock()) as keys:
        assert await is_granted(keys, "a")


def test_keys_that_are_no_good_are_left_out_and_told(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    good = ECAlgorithm.to_jwk(make_private("P-256").public_key(), as_dict=True)
    secret = {"kty": "oct", "k": "c2VjcmV0", "alg": "HS256"}

    ring = parse_keys(json.dumps({"keys": [secret, good, {}]}).encode())

    assert len(ring) == 1
    told = [(record.__dict__["key"], record.__dict__["detail"]) for record in caplog.records]
    assert told == [("keys[0]", "no public key"), ("keys[2]", "no public key")]
    assert "c2VjcmV0" not in caplog.text
