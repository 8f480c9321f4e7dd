"""Signed tokens: what they claim, and when. The clock stands at NOW; 60 s of leeway, an hour of life at most."""

from dataclasses import replace
from typing import Any

import pytest
from asking import REQUEST
from hypothesis import given
from hypothesis import strategies as st
from signing import AUDIENCE, NOW, RULES, authority, forge, good_claims

from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.errors import BridgeError, GateError
from ws_subprocess.model import Credentials, LaunchRequest, Proposal


async def ask(claims: Any, request: LaunchRequest = REQUEST, **options: Any) -> ParsedGrant:
    parsed = await authority(**options).ask(Credentials(forge(claims=claims)), request)
    assert parsed is not None
    return parsed


async def refuse(claims: Any, request: LaunchRequest = REQUEST, **options: Any) -> GateError:
    with pytest.raises(GateError) as caught:
        await ask(claims, request, **options)
    return caught.value


@pytest.mark.parametrize("name", ["exp", "iat"])
@pytest.mark.parametrize(
    "value",
    [..., None, str(NOW + 60), True, False, float(NOW + 60), NOW + 60.5, -1, 10**30, -(10**30), [NOW + 60], {}],
)
async def test_a_time_must_be_a_whole_number_of_this_age(name: str, value: Any) -> None:
    error = await refuse(good_claims(**{name: value}))

    assert (error.code, error.reason) == ("denied", "jwt_claims")
    assert name in error.detail


@pytest.mark.parametrize("text", ["1e400", "-1e400", "1.8e9", "18000000600e-1"])
async def test_a_time_that_json_writes_as_a_fraction_is_none(text: str) -> None:
    claims = f'{{"aud":"{AUDIENCE}","iat":{NOW},"exp":{text},"command":"/bin/true"}}'

    assert (await refuse(claims.encode())).reason == "jwt_claims"


@pytest.mark.parametrize("value", [None, "x", True, 1.5, -1])
async def test_nbf_may_be_left_out_but_not_be_anything(value: Any) -> None:
    assert (await refuse(good_claims(nbf=value))).reason == "jwt_claims"


@pytest.mark.parametrize(("exp", "iat"), [(NOW, NOW), (NOW - 1, NOW), (NOW + 3601, NOW), (NOW + 60, NOW - 3541)])
async def test_a_token_lives_longer_than_nothing_and_no_longer_than_agreed(exp: int, iat: int) -> None:
    assert (await refuse(good_claims(exp=exp, iat=iat))).reason == "jwt_claims"


@pytest.mark.parametrize("lifetime_s", [1, 3600])
async def test_a_token_may_live_as_long_as_agreed(lifetime_s: int) -> None:
    assert await ask(good_claims(exp=NOW + lifetime_s))


async def test_a_token_is_good_until_the_leeway_after_its_end_is_over() -> None:
    claims = good_claims(exp=NOW + 60)

    assert await ask(claims, now=NOW + 60 + 59.9)
    assert (await refuse(claims, now=NOW + 60 + 60)).reason == "jwt_expired"
    assert (await refuse(claims, now=NOW + 60 + 61)).reason == "jwt_expired"


@pytest.mark.parametrize("name", ["nbf", "iat"])
async def test_a_token_of_the_future_waits_for_it_but_for_the_leeway(name: str) -> None:
    assert await ask(good_claims(exp=NOW + 200, **{name: NOW + 60}))
    assert (await refuse(good_claims(exp=NOW + 200, **{name: NOW + 61}))).reason == "jwt_not_yet"


@pytest.mark.parametrize("audience", [AUDIENCE, [AUDIENCE], ["other", AUDIENCE], [1, AUDIENCE]])
async def test_a_token_that_names_our_audience_is_for_us(audience: Any) -> None:
    assert await ask(good_claims(aud=audience))


@pytest.mark.parametrize(
    "audience",
    [..., None, "", "other", AUDIENCE + " ", AUDIENCE.upper(), [], ["other"], [[AUDIENCE]], {AUDIENCE: 1}, 1],
)
async def test_a_token_for_somebody_else_is_refused(audience: Any) -> None:
    assert (await refuse(good_claims(aud=audience))).reason == "jwt_audience"


async def test_the_issuer_counts_where_it_is_set() -> None:
    rules = replace(RULES, issuer="https://id.example")

    assert await ask(good_claims(iss="https://id.example"), rules=rules)
    assert await ask(good_claims(iss="anybody"))
    for issuer in (..., "", "https://id.example/", "https://ID.example"):
        assert (await refuse(good_claims(iss=issuer), rules=rules)).reason == "jwt_issuer"


@pytest.mark.parametrize("name", ["sub", "iss", "jti"])
@pytest.mark.parametrize("value", [None, 1, True, ["a"], {}])
async def test_a_name_must_be_a_string(name: str, value: Any) -> None:
    assert (await refuse(good_claims(**{name: value}))).reason == "jwt_claims"


@pytest.mark.parametrize("jti", ["", "j" * 257])
async def test_a_jti_must_be_neither_empty_nor_long(jti: str) -> None:
    assert (await refuse(good_claims(jti=jti))).reason == "jwt_claims"
    assert await ask(good_claims(jti="j" * 256))


@pytest.mark.parametrize(
    "changes",
    [
        {"command": ...},
        {"command": None},
        {"command": "bash"},
        {"command": ["/bin/sh"]},
        {"args": "-l"},
        {"args": ["a\0b"]},
        {"env": {"LD_PRELOAD": "/tmp/x.so"}},
        {"cwd": "tmp"},
        {"user": "0"},
        {"rights": ["start", "root"]},
        {"sub": "a\x1b[2J"},
        {"sub": "s" * 257},
        {"allow": "all"},
        {"allow": [{"door": "terminal"}]},
        {"allow": [{"door": "terminal", "command": "bash"}]},
        {"allow": [{"door": "terminal", "command": "/bin/sh", "args": []}]},
    ],
)
async def test_half_a_grant_is_none(changes: dict[str, Any]) -> None:
    error = await refuse(good_claims(**changes))

    assert (error.code, error.reason) == ("denied", "jwt_claims")


async def test_the_subject_is_the_principal_and_nobody_else_says_so() -> None:
    assert (await ask(good_claims(sub="a", principal="b"))).grant.principal == "a"
    assert (await ask(good_claims(principal="b"))).grant.principal == "b"
    assert (await ask(good_claims())).grant.principal == ""


async def test_a_token_with_a_jti_counts_once_until_nobody_takes_it_any_more() -> None:
    parsed = await ask(good_claims(jti="abc"))

    assert parsed.single_use is not None
    assert parsed.single_use.expires_at == NOW + 60 + 60
    assert len(parsed.single_use.key) == 32
    assert b"abc" not in parsed.single_use.key


async def test_a_jti_is_its_issuers_own() -> None:
    uses = [
        (await ask(good_claims(**claims))).single_use
        for claims in ({"jti": "a"}, {"jti": "b"}, {"jti": "a", "iss": "x"}, {"jti": "a", "iss": "y"})
    ]

    assert len({use.key for use in uses if use}) == 4
    assert (await ask(good_claims(jti="a", sub="other"))).single_use == uses[0]


async def test_a_token_without_jti_counts_once_only_where_all_do() -> None:
    assert (await ask(good_claims())).single_use is None

    first, again, other = [
        (await ask(claims, is_once=True)).single_use for claims in (good_claims(), good_claims(), good_claims(sub="x"))
    ]
    assert first is not None
    assert first == again != other


def propose(command: str, door: str = "exec", **more: Any) -> LaunchRequest:
    return LaunchRequest(door, "127.0.0.1", proposal=Proposal(command, **more))


ALLOWS = good_claims(command=..., allow=[{"door": "exec", "command": "/bin/echo"}])


async def test_a_token_may_leave_the_command_to_the_client_within_its_list() -> None:
    parsed = await ask(ALLOWS, propose("/bin/echo", args=("hello",)))

    assert (parsed.grant.command, parsed.grant.args) == ("/bin/echo", ("hello",))
    assert parsed.unknown_keys == ()
    assert (await refuse(ALLOWS, propose("/bin/sh"))).reason == "token_command"


async def test_a_token_that_only_has_a_list_opens_no_door_where_nothing_is_proposed() -> None:
    error = await refuse(ALLOWS)

    assert (error.code, error.reason) == ("denied", "token_door")


@given(
    st.dictionaries(
        st.sampled_from(["aud", "exp", "iat", "nbf", "iss", "sub", "jti", "command", "args", "env", "allow", "rights"]),
        st.recursive(
            st.none() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False) | st.integers() | st.text(),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
            max_leaves=6,
        ),
    )
)
async def test_claims_of_any_kind_are_granted_or_refused_and_nothing_else(changes: dict[str, Any]) -> None:
    codes = {"granted"}
    try:
        await ask(good_claims(**changes))
    except BridgeError as error:
        codes = {error.code}
    assert codes <= {"granted", "denied"}
