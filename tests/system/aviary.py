"""A daemon with every kind of secret, each a canary: keys, tokens of all authorities, what is granted and typed."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import jwt
from canaries import Canary, find_all, hatch
from daemon_process import DaemonProcess
from scripted_server import ScriptedServer, read_body, respond, scripted, target

AUDIENCE = "terminals.example"
DOORS = ("terminal", "process", "commands", "payloads", "rpc")


@dataclass
class Aviary:
    """All canaries of a test by name, and what was told to clients."""

    birds: dict[str, Canary] = field(default_factory=dict)
    answers: dict[str, bytes] = field(default_factory=dict)

    def keep(self, name: str, text: str = "") -> str:
        """Make a new secret, or keep `text` as one; return it."""
        self.birds[name] = Canary(name, text) if text else hatch(name)
        return self.birds[name].text

    def find(self, places: dict[str, bytes], *ours: str) -> set[tuple[str, str]]:
        """Return which canary is where; `ours` belong there."""
        return find_all((bird for name, bird in self.birds.items() if name not in ours), places)


@dataclass(frozen=True, slots=True)
class Signed:
    """The body of an answer that the controller signs."""

    body: bytes


Answers = dict[str, Signed | bytes]


@dataclass
class House:
    """A daemon with all authorities, whose keys are canaries too.

    Attributes:
        answers: What the controller answers to a token, byte for byte where it is not to be signed; any other token is
            refused.
    """

    daemon: DaemonProcess
    aviary: Aviary
    folder: Path
    flags: tuple[str, ...]
    environ: dict[str, str]
    answers: Answers

    def make_token(self, kind: str, way: str, grant: dict[str, Any]) -> str:
        """Return a good token of a kind, itself a canary, that grants so much."""
        name = f"{kind}-by-{way}"
        match kind:
            case "signed":
                now = int(time.time())
                claims = {"aud": AUDIENCE, "iat": now, "exp": now + 600, "jti": name, "sub": "ada", **grant}
                return self.aviary.keep(name, jwt.encode(claims, self.aviary.birds["jwt-key"].text, "HS256"))
            case "static":
                token = self.aviary.keep(name)
                with open(self.folder / "tokens.toml", "a") as file:
                    file.write(write_entry(name, token, grant))
                return token
            case _:
                token = self.aviary.keep(name)
                self.answers[token] = Signed(json.dumps(grant).encode())
                return token


def write_entry(name: str, token: str, grant: dict[str, Any]) -> str:
    """Return an entry of the file of static tokens."""
    env = ", ".join(f"{key} = {json.dumps(value)}" for key, value in grant["env"].items())
    digest = hashlib.sha256(token.encode()).hexdigest()
    return (
        f'[[token]]\nname = "{name}"\nhash = "sha256:{digest}"\ndoors = {json.dumps(DOORS)}\n'
        f'command = "{grant["command"]}"\nargs = {json.dumps(grant["args"])}\nenv = {{{env}}}\n'
    )


def read_question(request: bytes) -> tuple[bytes, bytes, str]:
    """Return a question's method, what of it the signature of its answer holds, and the token that it is about."""
    if request.startswith(b"POST "):
        body = read_body(request)
        return b"POST", body, json.loads(body)["token"]
    token = parse_qs(urlsplit(target(request)).query, keep_blank_values=True)["token"][0]
    return b"GET", token.encode(), token


@asynccontextmanager
async def signing_controller(key: str, answers: Answers) -> AsyncIterator[ScriptedServer]:
    """Serve a controller that signs what it answers to a token; any other token is refused, and its name repeated."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        method, asked, token = read_question(controller.requests[-1])
        refusal = respond(f"nobody knows {token}", "403 Forbidden", f"X-Token: {quote(token)}")
        match answers.get(token, refusal):
            case Signed(body):
                text = b"\n".join([b"v1", method, hashlib.sha256(asked).hexdigest().encode(), body])
                signature = hmac.new(key.encode(), text, hashlib.sha256).hexdigest()
                writer.write(respond(body, "200 OK", f"X-WS-Subprocess-Signature: v1={signature}"))
            case answer_as_it_is:
                writer.write(answer_as_it_is)

    async with scripted(answer) as controller:
        yield controller
