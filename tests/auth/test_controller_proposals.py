"""Questions about a command that the client proposes, signed answers, and tokens that count once."""

import asyncio
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from asking import GOOD, REQUEST, asking
from scripted_server import Answer, ScriptedServer, read_body, read_headers, respond, scripted, target

from ws_subprocess.auth.controller import USED_TOKEN_TTL_S, Controller, ControllerSettings
from ws_subprocess.auth.signature import HEADER, sign
from ws_subprocess.errors import GateError
from ws_subprocess.model import Credentials, LaunchRequest, Proposal
from ws_subprocess.process.environ import is_refused

KEY = b"0123456789abcdef0123456789abcdef"
PROPOSAL = Proposal("/usr/bin/id", ("-u", "\u00e9"), "/srv", {"LAB": "7"})
PROPOSED = LaunchRequest("run", "192.0.2.7", proposal=PROPOSAL)
BODY = '{"command": "/bin/true"}'


async def test_a_proposal_is_posted_as_json_and_the_token_stays_out_of_the_url() -> None:
    async with scripted(GOOD) as server, asking(server.url + "?a=1") as ask:
        parsed = await ask("t\u00f6ken", PROPOSED)

    question = server.requests[0]
    assert question.startswith(b"POST /ws-controller?a=1 HTTP/1.1\r\n")
    assert read_headers(question) == {
        "host": f"127.0.0.1:{server.port}",
        "accept": "application/json",
        "accept-encoding": "identity",
        "user-agent": "ws-subprocess",
        "content-type": "application/json",
        "content-length": str(len(read_body(question))),
    }
    assert json.loads(read_body(question)) == {
        "token": "t\u00f6ken",
        "door": "run",
        "command": "/usr/bin/id",
        "args": ["-u", "\u00e9"],
        "cwd": "/srv",
        "env": {"LAB": "7"},
        "peer": "192.0.2.7",
    }
    assert list(json.loads(read_body(question))) == ["token", "door", "command", "args", "cwd", "env", "peer"]
    assert parsed.grant.command == "/bin/true", "what the controller says runs, not what was proposed"


async def test_what_a_proposal_leaves_out_is_null_or_empty() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        await ask("t0ken", LaunchRequest("run", "", proposal=Proposal("/bin/true")))

    fields = json.loads(read_body(server.requests[0]))
    assert (fields["args"], fields["cwd"], fields["env"]) == ([], None, {})


async def test_half_a_surrogate_pair_in_a_proposal_is_asked_about_as_it_is() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        await ask("t0ken", LaunchRequest("run", "", proposal=Proposal("/bin/true", ("\udcff",))))

    assert json.loads(read_body(server.requests[0]))["args"] == ["\udcff"]


async def test_questions_of_both_kinds_use_one_connection() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        for request in (REQUEST, PROPOSED, REQUEST, PROPOSED):
            await ask("t0ken", request)

    assert [request[:4] for request in server.requests] == [b"GET ", b"POST"] * 2
    assert server.connections == 1


async def test_a_proposal_can_be_refused() -> None:
    async with scripted(respond("", "403 No")) as server, asking(server.url) as ask:
        with pytest.raises(GateError) as caught:
            await ask("t0ken", PROPOSED)

    assert caught.value.code == "denied"


# Signed answers.


@dataclass
class Signer:
    """Answers as a controller does that knows the key."""

    key: bytes = KEY
    spoil: Callable[[str], str] = str
    server: ScriptedServer | None = None

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert self.server is not None
        question = self.server.requests[-1]
        method = question.split(b" ", 1)[0].decode()
        asked = read_body(question) if method == "POST" else target(question).rpartition("token=")[2].encode()
        signature = self.spoil(sign(self.key, method, asked, BODY.encode()))
        writer.write(respond(BODY, "200 OK", f"{HEADER}: {signature}"))
        await writer.drain()


async def ask_signed(answer: Answer, request: LaunchRequest = REQUEST) -> Any:
    async with scripted(answer) as server, asking(server.url, hmac_key=KEY) as ask:
        if isinstance(answer, Signer):
            answer.server = server
        return await ask("t0ken", request)


async def be_unsigned(answer: Answer) -> str:
    with pytest.raises(GateError) as caught:
        await ask_signed(answer)
    assert (caught.value.code, caught.value.fault.status) == ("controller_bad_signature", 502)
    return caught.value.detail


@pytest.mark.parametrize("request_", [REQUEST, PROPOSED], ids=["get", "post"])
async def test_a_signed_grant_is_believed(request_: LaunchRequest) -> None:
    assert (await ask_signed(Signer(), request_)).grant.command == "/bin/true"


async def test_a_grant_without_signature_runs_nothing() -> None:
    assert HEADER in await be_unsigned(GOOD)


async def test_a_grant_signed_with_another_key_runs_nothing() -> None:
    await be_unsigned(Signer(b"x" * 32))


async def test_a_signature_that_stands_twice_is_none() -> None:
    await be_unsigned(Signer(spoil=lambda signature: f"{signature}\r\n{HEADER}: {signature}"))


async def test_an_answer_for_one_token_is_none_for_another() -> None:
    answer = respond(BODY, "200 OK", f"{HEADER}: {sign(KEY, 'GET', b'other', BODY.encode())}")

    assert "to this question" in await be_unsigned(answer)


async def test_who_does_not_know_the_key_learns_nothing_about_its_json() -> None:
    await be_unsigned(respond("{no json"))


@pytest.mark.parametrize(("status", "code"), [("403 No", "denied"), ("500 Oops", "controller_error")])
async def test_only_grants_need_a_signature(status: str, code: str) -> None:
    with pytest.raises(GateError) as caught:
        await ask_signed(respond("", status))

    assert caught.value.code == code


async def test_without_a_key_signatures_are_not_looked_at() -> None:
    async with scripted(respond(BODY, "200 OK", f"{HEADER}: nonsense")) as server, asking(server.url) as ask:
        assert (await ask("t0ken")).grant.command == "/bin/true"


@pytest.mark.parametrize("key", [b"", b"x", b"x" * 31])
def test_a_key_that_can_be_guessed_is_refused(key: bytes) -> None:
    with pytest.raises(ValueError, match=f"^controller_hmac_key: {len(key)} bytes, at least 32; make a key with"):
        ControllerSettings("http://127.0.0.1/", hmac_key=key)


def test_the_key_is_not_shown() -> None:
    assert KEY.decode() not in repr(ControllerSettings("http://127.0.0.1/", hmac_key=KEY))


# Tokens that count once.


async def test_where_tokens_count_once_the_grant_says_so_without_the_token() -> None:
    async with scripted(GOOD) as server:
        settings = ControllerSettings(server.url, is_token_once=True)
        controller = Controller(settings, is_refused, wall_clock=lambda: 1_700_000_000.0)
        parsed = await controller.ask(Credentials("t\u00f6ken"), REQUEST)
        await controller.close()

    assert parsed.single_use is not None
    assert parsed.single_use.key == hashlib.sha256(b"token:" + "t\u00f6ken".encode()).digest()
    assert parsed.single_use.expires_at == 1_700_000_000.0 + USED_TOKEN_TTL_S
    assert USED_TOKEN_TTL_S == 30 * 24 * 3600


async def test_else_the_controller_alone_decides_how_often_a_token_counts() -> None:
    async with scripted(GOOD) as server, asking(server.url) as ask:
        assert (await ask("t0ken")).single_use is None
