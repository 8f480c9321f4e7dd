"""Descriptors for a start are looked for before a token is used up for it."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from children import Nursery, Running, few_descriptors

from ws_subprocess.auth.gate import Gate
from ws_subprocess.auth.grants import ParsedGrant, SingleUse
from ws_subprocess.auth.policy import Policy
from ws_subprocess.errors import CapacityError
from ws_subprocess.model import UNCONFINED, Confinement, Credentials, Grant, LaunchRequest
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.attachment import SessionLimits
from ws_subprocess.sessions.registry import SessionRegistry
from ws_subprocess.store.used_tokens import UsedTokens
from ws_subprocess.telemetry import Metrics


class Once:
    """An authority whose token counts once."""

    def __init__(self, grant: Grant) -> None:
        self._grant = grant

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant:
        return ParsedGrant(self._grant, single_use=SingleUse(b"key", time.time() + 60))

    async def close(self) -> None:
        """It holds nothing."""


def refusal_of(attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except CapacityError as exc:
        return exc.code
    return ""


@pytest.mark.parametrize("confinement", [UNCONFINED, Confinement(umask=0o022)], ids=["posix_spawn", "fork"])
async def test_there_is_room_exactly_where_a_start_succeeds(
    nursery: Nursery, tty: bool, confinement: Confinement
) -> None:
    nursery.warm_up()
    grant = Grant("/bin/true", tty=tty, confinement=confinement)
    found, met = [], []

    for spare in range(12):
        started: list[Running] = []
        with few_descriptors(spare):
            found.append(refusal_of(lambda: nursery.spawner.check_room(grant)))
            met.append(
                refusal_of(lambda: started.append(nursery.start("/bin/true", tty=tty, confinement=confinement)))  # noqa: B023
            )
        for running in started:
            running.kill()

    assert found == met
    assert set(found) == {"", "no_resources"}


@pytest.mark.parametrize("has_tty", [True, False])
async def test_a_token_that_counts_once_is_still_good_when_there_were_no_descriptors(
    nursery: Nursery, tmp_path: Path, has_tty: bool
) -> None:
    ledger = UsedTokens(str(tmp_path / "state"))
    gate = Gate([Once(Grant("/bin/true"))], Policy(), ledger, lambda _: None)
    launcher = Launcher(gate, nursery.spawner, SessionRegistry(10), SessionLimits(), Metrics())
    request = LaunchRequest("terminal", "127.0.0.1", has_tty=has_tty)
    token = Credentials("t")

    with few_descriptors(2 if has_tty else 6), pytest.raises(CapacityError) as caught:
        await launcher.launch(token, request).__aenter__()
    async with launcher.launch(token, request) as session:
        assert session.is_running
    await gate.close()

    assert caught.value.code == "no_resources"
