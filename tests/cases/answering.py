"""Lets the controller of a daemon in this process answer anything, and looks at what the client gets for it."""

from catalogue import Entry
from daemon import Daemon, Reply
from expecting import PROBLEM, Audit, assert_nothing_ran, expect_http, variants
from scripted_server import Answer

PATH = "/ws?token=t0ken"


async def knock(daemon: Daemon) -> Reply:
    """Knock with the token of these tests."""
    return await daemon.knock(PATH, PROBLEM)


async def expect_refusals(entry: Entry, daemon: Daemon, audit: Audit, answers: dict[str, Answer]) -> None:
    """Fail unless each answer is refused as its entry says, and the token was asked about once for each."""
    with variants() as variant:
        for name, answer in answers.items():
            with variant(name):
                daemon.controller.requests.clear()
                daemon.controller.answer = answer
                expect_http(entry, await knock(daemon), audit, variant="NaN" if name.endswith(" nan") else name)
                assert daemon.list_asked() == ["t0ken"]
    assert_nothing_ran(daemon)
