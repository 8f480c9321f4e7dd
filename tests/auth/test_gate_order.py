"""Several authorities, the operator's limits and tokens that count once: who decides, and in which order."""

from collections.abc import Callable

import pytest

from ws_subprocess.auth.gate import Gate
from ws_subprocess.auth.grants import ParsedGrant, SingleUse
from ws_subprocess.auth.policy import Policy
from ws_subprocess.errors import BridgeError, CapacityError, GateError
from ws_subprocess.model import ALL_RIGHTS, Credentials, Grant, LaunchRequest, Right

REQUEST = LaunchRequest("terminal", "127.0.0.1")
GRANT = Grant(command="/bin/true", principal="lab")
ONCE = SingleUse(b"key", 2e9)


class Says:
    """An authority with one answer."""

    def __init__(self, answer: ParsedGrant | GateError | None) -> None:
        self._answer = answer
        self.asked = 0
        self.is_closed = False

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant | None:
        self.asked += 1
        if isinstance(self._answer, GateError):
            raise self._answer
        return self._answer

    async def close(self) -> None:
        self.is_closed = True


class Book:
    """A ledger in memory, or one that cannot be written to."""

    def __init__(self, error: OSError | None = None) -> None:
        self.keys: list[bytes] = []
        self._error = error
        self.is_closed = False

    async def claim(self, key: bytes, expires_at: float) -> bool:
        if self._error:
            raise self._error
        self.keys.append(key)
        return self.keys.count(key) == 1

    async def close(self) -> None:
        self.is_closed = True


def build_gate(*authorities: Says, policy: Policy | None = None, book: Book | None = None) -> Gate:
    return Gate(authorities, policy or Policy(), book, lambda _: None)


def welcome(grant: Grant) -> None:
    """Admit everybody."""


async def refused(gate: Gate, admit: Callable[[Grant], None] = welcome) -> BridgeError:
    with pytest.raises(BridgeError) as caught:
        await gate.authorize(Credentials("t"), REQUEST, admit)
    return caught.value


async def test_who_does_not_know_the_token_leaves_it_to_the_next() -> None:
    first, second, third = Says(None), Says(ParsedGrant(GRANT)), Says(ParsedGrant(GRANT))

    assert await build_gate(first, second, third).authorize(Credentials("t"), REQUEST, welcome) == GRANT
    assert (first.asked, second.asked, third.asked) == (1, 1, 0)


async def test_a_refusal_is_an_answer() -> None:
    second = Says(ParsedGrant(GRANT))

    error = await refused(build_gate(Says(GateError("denied", reason="jwt_expired")), second))

    assert error.reason == "jwt_expired"
    assert second.asked == 0


async def test_an_authority_that_cannot_decide_refuses() -> None:
    second = Says(ParsedGrant(GRANT))

    assert (await refused(build_gate(Says(GateError("gate_unavailable")), second))).code == "gate_unavailable"
    assert second.asked == 0


@pytest.mark.parametrize("count", [0, 1, 3])
async def test_a_token_that_nobody_knows_is_refused(count: int) -> None:
    error = await refused(build_gate(*(Says(None) for _ in range(count))))

    assert (error.code, error.reason) == ("denied", "token_unknown")


async def test_a_token_that_counts_once_counts_once() -> None:
    book = Book()
    gate = build_gate(Says(ParsedGrant(GRANT, single_use=ONCE)), book=book)

    await gate.authorize(Credentials("t"), REQUEST, welcome)
    error = await refused(gate)

    assert (error.code, error.reason, error.grant) == ("denied", "token_used", GRANT)
    assert book.keys == [b"key", b"key"]


async def test_a_token_is_not_used_up_by_what_the_operator_forbids() -> None:
    book = Book()
    authority = Says(ParsedGrant(GRANT, single_use=ONCE))

    error = await refused(build_gate(authority, policy=Policy(allow_commands=("/bin/false",)), book=book))

    assert error.code == "command_denied"
    assert error.grant == GRANT
    assert book.keys == []


@pytest.mark.parametrize("missing", [Right.START, Right.VIEW])
async def test_a_token_is_not_used_up_by_rights_that_do_not_suffice(missing: Right) -> None:
    book = Book()
    grant = Grant(command="/bin/true", rights=ALL_RIGHTS - {missing})

    error = await refused(build_gate(Says(ParsedGrant(grant, single_use=ONCE)), book=book))

    assert error.code == "right_missing"
    assert missing in error.detail
    assert book.keys == []


async def test_a_token_is_not_used_up_where_there_is_no_room() -> None:
    book = Book()

    def full(grant: Grant) -> None:
        raise CapacityError("too_many_sessions_user")

    error = await refused(build_gate(Says(ParsedGrant(GRANT, single_use=ONCE)), book=book), full)

    assert error.code == "too_many_sessions_user"
    assert book.keys == []


async def test_what_cannot_be_written_down_does_not_count_at_all() -> None:
    gate = build_gate(Says(ParsedGrant(GRANT, single_use=ONCE)), book=Book(OSError(28, "No space left on device")))

    error = await refused(gate)

    assert error.code == "gate_unavailable"
    assert error.retry_after_s
    assert "No space left on device" in error.detail


async def test_without_a_ledger_no_token_counts_once() -> None:
    assert (await refused(build_gate(Says(ParsedGrant(GRANT, single_use=ONCE))))).code == "gate_unavailable"


async def test_closing_closes_all() -> None:
    authorities, book = [Says(None), Says(None)], Book()

    await build_gate(*authorities, book=book).close()

    assert all(authority.is_closed for authority in authorities)
    assert book.is_closed
