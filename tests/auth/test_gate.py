"""The funnel: deny by default, remember why for a short while, forget the rest."""

import gc

import pytest

from ws_subprocess.auth.fixed import OneCommand
from ws_subprocess.auth.gate import REFUSAL_TTL_S, REFUSALS_MAX, Gate
from ws_subprocess.auth.grants import ParsedGrant
from ws_subprocess.auth.policy import Policy
from ws_subprocess.errors import GateError, GrantError, RequestError
from ws_subprocess.model import Credentials, Grant, LaunchRequest

REQUEST = LaunchRequest("terminal", "127.0.0.1")
GRANT = Grant(command="/bin/true")


class Generous:
    """Grants everything, with keys that nobody knows."""

    def __init__(self, *unknown_keys: str) -> None:
        self._answer = ParsedGrant(GRANT, unknown_keys)
        self.is_closed = False

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        return self._answer

    async def close(self) -> None:
        self.is_closed = True


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 50.0

    def __call__(self) -> float:
        return self.now


def build_gate(clock: Clock) -> Gate:
    return Gate([Generous()], Policy(), None, lambda _: None, clock)


async def test_unknown_keys_are_counted() -> None:
    counted: list[int] = []
    gate = Gate([Generous("color", "x")], Policy(), None, counted.append)

    assert await gate.authorize(Credentials("t"), REQUEST, lambda _: None) == GRANT
    assert counted == [2]


async def test_closing_gives_back_what_the_authority_holds() -> None:
    authority = Generous()

    await Gate([authority], Policy(), None, lambda _: None).close()

    assert authority.is_closed


def test_a_refusal_is_remembered_for_its_token_alone_and_not_for_ever() -> None:
    clock = Clock()
    gate = build_gate(clock)
    gate.remember_refusal(Credentials("a"), GateError("denied"))

    clock.now += REFUSAL_TTL_S - 0.1
    found, other = gate.find_refusal(Credentials("a")), gate.find_refusal(Credentials("b"))
    clock.now += 0.2

    assert found is not None
    assert found.code == "denied"
    assert other is None
    assert gate.find_refusal(Credentials("a")) is None


def test_the_last_refusal_of_a_token_counts_with_all_it_says() -> None:
    gate = build_gate(Clock())
    gate.remember_refusal(Credentials("a"), GateError("denied"))
    gate.remember_refusal(Credentials("a"), RequestError("bad_size", "rows: '0x' is not in 0..2000", 7))

    found = gate.find_refusal(Credentials("a"))

    assert found is not None
    assert (found.code, found.detail, found.retry_after_s) == ("bad_size", "rows: '0x' is not in 0..2000", 7)
    assert found.detail_is_public


def test_no_more_refusals_are_kept_than_agreed_and_the_oldest_go() -> None:
    gate = build_gate(Clock())
    for number in range(REFUSALS_MAX + 10):
        gate.remember_refusal(Credentials(f"t{number}"), GateError("denied"))

    kept = [number for number in range(REFUSALS_MAX + 10) if gate.find_refusal(Credentials(f"t{number}"))]

    assert kept == list(range(10, REFUSALS_MAX + 10))


def test_what_is_remembered_keeps_nothing_of_the_request_alive() -> None:
    """A traceback holds every frame with its variables: the request, its connection, and the token itself."""

    class Connection:
        pass

    def refuse(gate: Gate) -> None:
        connection = Connection()
        try:
            try:
                raise OSError("refused")
            except OSError as exc:
                raise GateError("controller_unreachable", str(exc), 5) from exc
        except GateError as error:
            assert connection
            gate.remember_refusal(Credentials("a"), error)

    gate = build_gate(Clock())
    refuse(gate)
    gc.collect()

    assert not [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
    assert gate.find_refusal(Credentials("a")) is not None


def test_a_token_stands_in_no_representation() -> None:
    assert "s3cret" not in repr(Credentials("s3cret"))
    assert "s3cret" not in repr(Grant(command="/bin/true", env={"KEY": "s3cret"}))


async def test_one_command_is_granted_to_its_token_again_and_again() -> None:
    authority = OneCommand("s3cret", GRANT)

    for _ in range(3):
        assert (await authority.ask(Credentials("s3cret"), REQUEST)).grant == GRANT
    await authority.close()


@pytest.mark.parametrize("token", ["s3cre", "s3crets", "S3CRET", "", "\u00e9", "s3cret\0"])
async def test_one_command_is_granted_to_no_other_token(token: str) -> None:
    with pytest.raises(GateError) as caught:
        await OneCommand("s3cret", GRANT).ask(Credentials(token), REQUEST)

    assert caught.value.code == "denied"
    assert not isinstance(caught.value, GrantError)
