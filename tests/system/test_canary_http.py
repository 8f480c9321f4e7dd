"""What is secret stays where it belongs at the HTTP doors, too: no token, environment value or input is found in a log,
an audit line, a metric, the database or the spool of jobs, or an answer; arguments and output are kept with their job,
and nowhere else.
"""

import base64
import errno
import json
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from aviary import AUDIENCE, Answers, Aviary, House, signing_controller
from canaries import find_all, list_tree, read_command_lines, read_environments, read_files
from daemon_process import DaemonProcess, daemon_environ
from observing import becomes_true, until

KINDS = ("signed", "static", "controller")
# Says what it was given, and waits for its input to end: of that it only counts.
SCRIPT = 'echo "output $1"; wc -c; test -n "$SHOWN" && echo granted >&2; read -r _ < "$2"'
COMMANDS = """
[[command]]
name = "sh"
command = "/bin/sh"
"""
PROBLEM = {"Accept": "application/problem+json"}


@pytest.fixture
async def house(tmp_path: Path, launch_daemon: Callable[..., DaemonProcess]) -> AsyncIterator[House]:
    """A daemon with all authorities and all doors."""
    aviary, answers = Aviary(), Answers()
    key_file, tokens, commands = tmp_path / "jwt.key", tmp_path / "tokens.toml", tmp_path / "commands.toml"
    key_file.write_text(aviary.keep("jwt-key"))
    tokens.write_text("")
    commands.write_text(COMMANDS)
    for path in (key_file, tokens):
        path.chmod(0o600)
    environ = daemon_environ(HMAC=aviary.keep("hmac-key"), OF_DAEMON=aviary.keep("variable"))
    async with signing_controller(environ["HMAC"], answers) as controller:
        flags = (
            *("--controller-url", controller.url, "--controller-hmac-key", "env:HMAC", "--jwt-audience", AUDIENCE),
            *("--jwt-key", f"HS256:file:{key_file}", "--tokens-file", str(tokens), "--token-once"),
            *("--state-dir", str(tmp_path / "state"), "--audit-log", str(tmp_path / "audit.log")),
            *("--process-door", "--payloads-door", "--rpc-door", "--commands-file", str(commands)),
            *("--log-level", "debug", "--log-format", "json", "--max-body-bytes", "64KiB", "--body-timeout", "500ms"),
        )
        daemon = launch_daemon("serve", "--listen", "127.0.0.1:0", *flags, environ=environ)
        await daemon.ready()
        yield House(daemon, aviary, tmp_path, flags, environ, answers)


class Visit:
    """One job at one door: its secrets, and what became of it."""

    def __init__(self, house: House, kind: str, door: str) -> None:
        self.house, self.door, self.name = house, door, f"{kind}-by-{door}"
        aviary = house.aviary
        self.argument = aviary.keep(f"argument of {self.name}")
        self.granted = aviary.keep(f"env of {self.name}")
        self.proposed = aviary.keep(f"proposed env of {self.name}")
        self.typed = aviary.keep(f"input of {self.name}")
        self.gate = house.folder / f"{self.name}.fifo"
        args = ["-c", SCRIPT, "sh", self.argument, str(self.gate)]
        self.grant = {"command": "/bin/sh", "args": args, "env": {"SHOWN": self.granted}}
        self.headers = {"Authorization": f"Bearer {house.make_token(kind, door, self.grant)}", **PROBLEM}
        self.told = b""

    def client(self) -> httpx.AsyncClient:
        return httpx.AsyncClient(base_url=self.house.daemon.url, trust_env=False, timeout=60, headers=self.headers)

    async def ask(self, client: httpx.AsyncClient, method: str, path: str, **options: Any) -> httpx.Response:
        """Ask, and keep what was answered."""
        answer = await client.request(method, path, **options)
        self.told += repr(answer.headers.multi_items()).encode() + answer.content
        assert answer.status_code < 400, answer.text
        return answer

    async def look_at_the_command(self) -> None:
        """Look at what the system shows of the command, and let it end."""
        daemon, aviary = self.house.daemon, self.house.aviary

        await until(self._is_read_from, "the command's last line", 60)
        children = list(list_tree(daemon.pid))
        environments = read_environments(children)
        assert find_all([aviary.birds[f"env of {self.name}"]], environments), "what is looked for can be found"
        assert aviary.find(environments, f"env of {self.name}") == set()
        assert aviary.find(read_command_lines([daemon.pid, *children]), f"argument of {self.name}") == set()
        os.write(self._writing_end, b"\n")
        os.close(self._writing_end)

    def _is_read_from(self) -> bool:
        """Tell whether the command waits at its gate; then keep the end of it that lets it go."""
        try:
            self._writing_end = os.open(self.gate, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as exc:
            if exc.errno != errno.ENXIO:
                raise
            return False
        return True


async def visit_process(visit: Visit) -> None:
    body = {"alias": "a", "cmd": "/bin/sh", "args": [], "envs": {"PROPOSED": visit.proposed}, "stdin": visit.typed}
    async with visit.client() as client, client.stream("POST", "/process", json=body) as answer:
        assert answer.status_code == 200
        await visit.look_at_the_command()
        output = b"".join([piece async for piece in answer.aiter_bytes()])
    assert output == f"output {visit.argument}\n{len(visit.typed)}\n".encode()


async def visit_process_with_a_body(visit: Visit) -> None:
    asked = {"alias": "b", "cmd": "/bin/sh", "args": [], "envs": {"PROPOSED": visit.proposed}}
    encoded = base64.urlsafe_b64encode(json.dumps(asked).encode()).decode()
    headers = {"X-Process": encoded, "Content-Type": "application/octet-stream"}
    async with (
        visit.client() as client,
        client.stream("POST", "/process", content=visit.typed.encode(), headers=headers) as answer,
    ):
        assert answer.status_code == 200
        await visit.look_at_the_command()
        assert str(len(visit.typed)).encode() in b"".join([piece async for piece in answer.aiter_bytes()])


async def visit_commands(visit: Visit) -> None:
    async with visit.client() as client:
        asked = {"stdin": visit.typed, "retention": "keep", "force_unique_key": True}
        key = (await visit.ask(client, "POST", "/commands/sh", json=asked)).json()["key"]
        await visit.look_at_the_command()
        query = {"key": key, "wait": "true"}
        report = (await visit.ask(client, "GET", "/commands/sh", params=query)).json()
        assert report["report"] == f"output {visit.argument}\n{len(visit.typed)}\n"
        await visit.ask(client, "GET", "/commands/sh/output", params={"key": key})
        await visit.ask(client, "GET", "/commands/sh/jobs")


async def visit_commands_later(visit: Visit) -> None:
    """Send the input, and a file, by requests of their own."""
    async with visit.client() as client:
        asked = {"keep_stdin": True, "retention": "keep", "force_unique_key": True}
        key = (await visit.ask(client, "POST", "/commands/sh", json=asked)).json()["key"]
        query = {"key": key, "end": "true"}
        await visit.ask(client, "POST", "/commands/sh/input", params=query, content=visit.typed.encode())
        await visit.look_at_the_command()
        report = (await visit.ask(client, "GET", "/commands/sh", params={"key": key, "wait": "true"})).json()
        assert str(len(visit.typed)) in report["report"]


async def visit_payloads(visit: Visit) -> None:
    async with visit.client() as client:
        payload = (await visit.ask(client, "POST", "/payloads", json={"cmd": "/bin/sh", "params": []})).json()
        await visit.look_at_the_command()
        path = f"/payloads/{payload['id']}"

        async def has_ended() -> bool:
            return (await visit.ask(client, "GET", path)).json()["ended_at"] is not None

        await becomes_true(has_ended, "the payload's end", 60)
        assert (await visit.ask(client, "GET", path)).json()["output"] == f"output {visit.argument}\n0\n"
        await visit.ask(client, "GET", "/payloads")


async def visit_rpc(visit: Visit) -> None:
    async with visit.client() as client:

        async def call(function: str, **data: Any) -> dict[str, Any]:
            body = {"weerpc": 1.1, "function": function, "data": data}
            answer = (await visit.ask(client, "POST", "/rpc", json=body)).json()
            assert answer["ok"], answer
            found: dict[str, Any] = answer["data"]
            return found

        started = await call("start", command="/bin/sh", args=[], env={"PROPOSED": visit.proposed}, tty=False)
        session = started["session"]
        await call("write", session=session, text=visit.typed, eof=True)
        await visit.look_at_the_command()
        await call("wait", session=session)
        output = await call("output", session=session)
        heard = b"".join(base64.b64decode(chunk["base64"]) for chunk in output["chunks"] if chunk["stream"] == 1)
        assert heard == f"output {visit.argument}\n{len(visit.typed)}\n".encode()
        visit.told = visit.told.replace(json.dumps(output["chunks"], separators=(",", ":")).encode(), b"")


VISITS = {
    "process": visit_process,
    "process with a body": visit_process_with_a_body,
    "commands": visit_commands,
    "commands later": visit_commands_later,
    "payloads": visit_payloads,
    "rpc": visit_rpc,
}


async def be_refused(house: House) -> int:
    """Send secrets in requests that are no good; return how many were refused."""
    aviary, refused = house.aviary, 0
    for door, path in (
        ("process", "/process"),
        ("commands", "/commands/sh"),
        ("payloads", "/payloads"),
        ("rpc", "/rpc"),
    ):
        token, secret = aviary.keep(f"refused token at {door}"), aviary.keep(f"refused value at {door}")
        good = {
            "alias": "a",
            "cmd": "/bin/sh",
            "params": [],
            "args": [],
            "weerpc": 1.1,
            "function": "start",
            "data": {},
        }
        bodies: list[bytes] = [
            b'{"' + secret.encode(),
            *(
                json.dumps(good | wrong).encode()
                for wrong in (
                    {"envs": {"A": [secret]}, "data": {"command": "/bin/sh", "env": {"A": [secret]}}},
                    {"envs": {"LD_PRELOAD": secret}, "data": {"command": "/bin/sh", "env": {"LD_PRELOAD": secret}}},
                    {"stdin": [secret], "data": {"session": "x", "text": [secret]}},
                    {"stdin": secret, "stdin_b64": secret, "timeout": -1},
                    {"args": [secret, 1], "params": [secret, 1]},
                    {"stdin": secret, "envs": {"A": secret}, "data": {"command": "/bin/sh", "env": {"A": secret}}},
                )
            ),
            secret.encode() * 2000,
        ]
        async with httpx.AsyncClient(base_url=house.daemon.url, trust_env=False, timeout=60) as client:
            for number, body in enumerate(bodies):
                for accept in ("*/*", PROBLEM["Accept"]):
                    headers = {
                        "Authorization": f"Bearer {token}",
                        "Content-Type": "application/json",
                        "Accept": accept,
                        "Cookie": f"a={secret}",
                        "Referer": f"http://127.0.0.1/?t={secret}",
                        "Idempotency-Key": secret,
                    }
                    answer = await client.post(f"{path}?token={token}", content=body, headers=headers)
                    aviary.answers[f"answer {number} at {door} {accept}"] = (
                        repr(answer.headers.multi_items()).encode() + answer.content
                    )
                    refused += answer.status_code >= 400 or answer.json().get("ok") is False
    return refused


async def test_no_secret_of_a_job_is_written_down(house: House) -> None:
    aviary, daemon = house.aviary, house.daemon
    visits = [(Visit(house, kind, name.replace(" ", "-")), visit) for kind in KINDS for name, visit in VISITS.items()]
    for visit, run in visits:
        # The command waits there until it was looked at.
        os.mkfifo(visit.gate, 0o600)
        await run(visit)
    assert await be_refused(house) == 4 * 8 * 2
    await daemon.sessions_reach(0)
    metrics = (await daemon.get("/metrics")).content
    idle = read_command_lines([daemon.pid, *daemon.children()])
    open_jobs = read_files(house.folder / "state")
    await daemon.end()

    audit = (house.folder / "audit.log").read_bytes()
    decisions = [json.loads(line)["decision"] for line in audit.splitlines()]
    jobs = {f"argument of {visit.name}" for visit, _ in visits if visit.door.startswith(("commands", "payloads"))}
    # A job is granted when it is accepted, and said to be when it begins.
    assert decisions.count("granted") == len(visits) + len(jobs)
    logged = {"metrics": metrics, "audit": audit, **read_files(daemon.folder), **aviary.answers, **idle}
    assert aviary.find(logged) == set()

    kept = read_files(house.folder / "state")
    arguments = {name for name in aviary.birds if name.startswith("argument of")}
    for files in (open_jobs, kept):
        assert any(name.endswith("sqlite3") for name in files)
        assert aviary.find(files, *arguments) == set()
    assert {bird for bird, _ in aviary.find(kept)} == jobs, "what belongs to a job is kept, so it would be found"
    answers = {visit.name: visit.told for visit, _ in visits}
    assert aviary.find(answers, *arguments) == set()
