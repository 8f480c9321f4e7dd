"""Signed tokens: their spelling and their headers. What is not exactly right is refused, and asked of nobody else."""

import json
from typing import Any

import pytest
from asking import REQUEST
from hypothesis import given
from hypothesis import strategies as st
from signing import authority, encode, forge, good_claims, signing_key

from ws_subprocess.auth.jws import is_signed
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials

HEADER = {"alg": "HS256", "typ": "JWT"}


async def refuse(token: str, **options: Any) -> GateError:
    with pytest.raises(GateError) as caught:
        await authority(**options).ask(Credentials(token), REQUEST)
    assert (caught.value.code, caught.value.retry_after_s) == ("denied", None)
    return caught.value


async def test_a_good_token_grants_what_it_claims() -> None:
    claims = good_claims(command="/bin/bash", args=["-l"], cwd="/tmp", sub="someone", read_only=True, color="red")

    parsed = await authority().ask(Credentials(forge(claims=claims)), REQUEST)

    assert parsed is not None
    grant = parsed.grant
    assert (grant.command, grant.args, grant.cwd, grant.principal) == ("/bin/bash", ("-l",), "/tmp", "someone")
    assert grant.rights == {"start", "view"}
    assert parsed.unknown_keys == ("color",)
    assert parsed.single_use is None


@pytest.mark.parametrize("token", ["opaque", "", "a.b.c", "v1.local.abc", "eyJhbGciOiJIUzI1NiJ9", " eyJ.e30.e30"])
async def test_what_is_meant_as_no_signed_token_is_left_to_others(token: str) -> None:
    assert await authority().ask(Credentials(token), REQUEST) is None


@pytest.mark.parametrize(
    "header", [b'{"alg":"HS256"}', b'{ "alg":"HS256"}', b'{\n"alg":"HS256"}', b'{\r\n"alg":"HS256"}']
)
async def test_a_header_may_have_white_space_where_json_may(header: bytes) -> None:
    assert await authority().ask(Credentials(forge(header)), REQUEST) is not None


GOOD = forge()
PARTS = GOOD.split(".")


@pytest.mark.parametrize(
    "token",
    [
        GOOD + "=",
        GOOD + "==",
        GOOD + "\n",
        GOOD + ".",
        GOOD + " ",
        GOOD + "\0",
        GOOD.replace(".", ". ", 1),
        f"{PARTS[0]}=.{PARTS[1]}.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}",
        f"{PARTS[0]}.{PARTS[1]}.",
        f"{PARTS[0]}..{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2]}.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2]}.{PARTS[2]}.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2][:-1]}+",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2][:-1]}/",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2][:-1]}\u00e9",
        f"{PARTS[0]}.{PARTS[1]}.{PARTS[2]}AA",
        f"{PARTS[0]}.{PARTS[1]}A.{PARTS[2]}",
        f"{PARTS[0]}.{PARTS[1]}.AAAAA",
    ],
)
async def test_another_spelling_of_a_good_token_is_refused(token: str) -> None:
    assert (await refuse(token)).reason in ("jwt_format", "jwt_signature")
    assert is_signed(token)


async def test_bits_that_mean_nothing_are_refused() -> None:
    """A signature of 32 bytes ends with a letter of which two bits are over: four spellings would verify."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    last = alphabet.index(GOOD[-1])

    spellings = [GOOD[:-1] + alphabet[last ^ bits] for bits in (1, 2, 3)]

    assert {(await refuse(token)).reason for token in spellings} == {"jwt_format"}


@pytest.mark.parametrize(
    "part",
    [
        b"no JSON",
        b"[]",
        b'"text"',
        b"null",
        b'{"alg":"HS256","alg":"HS256"}',
        b'{"alg":"HS256","exp":NaN}',
        b'{"alg":"HS256","a":-Infinity}',
        b"\xef\xbb\xbf{}",
        b'{"alg":"HS256","a":"\xff"}',
        b'{"alg":"HS256"}x',
        '{"alg":"HS256"}'.encode("utf-16"),
        b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' + b"9" * 5000 + b"}",
    ],
)
async def test_what_is_not_one_json_object_in_one_reading_is_refused(part: bytes) -> None:
    assert (await refuse(forge(claims=part))).reason == "jwt_format"
    if is_signed(token := forge(part)):
        assert (await refuse(token)).reason == "jwt_format"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"jku": "http://127.0.0.1:9/keys"}, "jwt_header"),
        ({"x5u": "http://127.0.0.1:9/cert"}, "jwt_header"),
        ({"jwk": {"kty": "oct", "k": "AAAA"}}, "jwt_header"),
        ({"x5c": ["MIIB"]}, "jwt_header"),
        ({"crit": ["exp"]}, "jwt_crit"),
        ({"crit": ["b64"], "b64": False}, "jwt_crit"),
        ({"crit": []}, "jwt_crit"),
        ({"crit": None}, "jwt_crit"),
        ({"b64": False}, "jwt_crit"),
        ({"typ": "at+jwt"}, "jwt_type"),
        ({"typ": "JWE"}, "jwt_type"),
        ({"typ": ""}, "jwt_type"),
        ({"typ": None}, "jwt_type"),
        ({"typ": ["JWT"]}, "jwt_type"),
        ({"alg": "none"}, "jwt_alg"),
        ({"alg": "None"}, "jwt_alg"),
        ({"alg": "hs256"}, "jwt_alg"),
        ({"alg": ""}, "jwt_alg"),
        ({"alg": None}, "jwt_alg"),
        ({"alg": ["HS256"]}, "jwt_alg"),
        ({"alg": "ES256K"}, "jwt_alg"),
        ({"alg": "HS512"}, "jwt_alg"),
        ({"alg": "RS256"}, "jwt_alg"),
        ({"kid": "../../dev/null"}, "jwt_key"),
        ({"kid": "x' OR '1'='1"}, "jwt_key"),
        ({"kid": "k" * 5000}, "jwt_key"),
        ({"kid": ""}, "jwt_key"),
        ({"kid": None}, "jwt_key"),
        ({"kid": 1}, "jwt_key"),
        ({"kid": ["a"]}, "jwt_key"),
    ],
)
async def test_a_header_that_asks_for_anything_special_is_refused(changes: dict[str, Any], reason: str) -> None:
    assert (await refuse(forge(HEADER | changes))).reason == reason


async def test_a_header_without_algorithm_is_refused() -> None:
    assert (await refuse(forge({"typ": "JWT"}))).reason == "jwt_alg"


@pytest.mark.parametrize(
    "header", [{"alg": "HS256"}, HEADER, {**HEADER, "typ": "jwt"}, {**HEADER, "typ": "application/jwt"}]
)
async def test_the_usual_type_may_be_left_out_and_has_no_case(header: dict[str, Any]) -> None:
    assert await authority().ask(Credentials(forge(header)), REQUEST) is not None


async def test_a_type_that_is_required_must_be_there() -> None:
    wanted = {"token_type": "terminal+jwt"}

    good = await authority(**wanted).ask(Credentials(forge({**HEADER, "typ": "terminal+jwt"})), REQUEST)

    assert good is not None
    assert (await refuse(forge(), **wanted)).reason == "jwt_type"
    assert (await refuse(forge({"alg": "HS256"}), **wanted)).reason == "jwt_type"


async def test_the_algorithm_none_needs_no_signature_and_gets_nothing() -> None:
    unsigned = f"{encode({'alg': 'none'})}.{encode(good_claims())}."

    assert (await refuse(unsigned)).reason == "jwt_format"
    assert (await refuse(unsigned + "AAAA")).reason == "jwt_alg"


@pytest.mark.parametrize("space", ["", " ", "\t", "\n", "\r\n"])
def test_a_header_that_begins_with_white_space_is_still_that_of_a_signed_token(space: str) -> None:
    assert is_signed(forge(f'{{{space}"alg":"HS256"}}'.encode()))


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.integers(0, len(GOOD)))
async def test_no_change_of_a_good_token_passes_or_breaks_anything(inserted: str, at: int) -> None:
    token = GOOD[:at] + inserted + GOOD[at + len(inserted) :]

    if token == GOOD:
        assert await authority().ask(Credentials(token), REQUEST) is not None
    elif is_signed(token):
        assert (await refuse(token)).code == "denied"


@given(
    st.dictionaries(
        st.text(max_size=8),
        st.recursive(
            st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=8),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
        max_size=4,
    )
)
async def test_no_header_breaks_anything(fields: dict[str, Any]) -> None:
    token = forge(json.dumps(fields | {"jwk": 1}).encode(), key=signing_key())

    if is_signed(token):
        assert (await refuse(token)).code == "denied"
