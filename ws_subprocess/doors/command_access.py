"""Who may do what with which job of a named command.

Laws: a job is there only through the command it was started with; for others than its owner it does not exist, and
nobody can tell that from a job which was never there.
"""

from dataclasses import dataclass
from typing import Protocol

from starlette.requests import Request

from ws_subprocess.auth.origins import OriginPolicy
from ws_subprocess.doors.handshake import check_origin, get_peer
from ws_subprocess.errors import BridgeError, GateError
from ws_subprocess.model import TO_WATCH, Credentials, Grant, LaunchRequest, Proposal, Right
from ws_subprocess.service.job import Job, JobPage, Owner
from ws_subprocess.service.jobs import Jobs
from ws_subprocess.service.launch import Launcher
from ws_subprocess.service.named_command import NamedCommand

DOOR = "commands"
RIGHTS = "rights"
"""The fact that holds what the token that started a job may do with it."""


class Admission(Protocol):
    """The checks before a body is read; see `bearer.Threshold`."""

    def admit(self, request: Request) -> Credentials:
        """Return who asks, or raise BridgeError."""
        ...

    def admit_start(self, request: Request) -> Credentials:
        """Return who asks to start something, or raise BridgeError."""
        ...


@dataclass(frozen=True, slots=True)
class OpenThreshold:
    """Lets everybody in whose Host and Origin are right: who may ask is for the program around us to decide."""

    launcher: Launcher
    policy: OriginPolicy

    def admit(self, request: Request) -> Credentials:
        """Return nobody's credentials.

        Raises:
            BridgeError: Host or Origin are not right.
        """
        check_origin(request.scope, request.headers, self.policy)
        return Credentials("")

    def admit_start(self, request: Request) -> Credentials:
        """Do as `admit`, but not while the process is draining."""
        credentials = self.admit(request)
        self.launcher.check_open()
        return credentials


@dataclass(frozen=True, slots=True)
class Access:
    """Answers for one command."""

    launcher: Launcher
    jobs: Jobs
    command: NamedCommand

    async def authorize_start(
        self, request: Request, credentials: Credentials, args: tuple[str, ...], *, has_input: bool
    ) -> tuple[Grant, LaunchRequest]:
        """Return what runs for a request with these arguments, and with input if it `has_input`.

        Raises:
            BridgeError: Nothing does.
        """
        needs = TO_WATCH | {Right.WRITE} if has_input else TO_WATCH
        asked = self._build_request(request, needs, args)
        return await self.launcher.authorize(credentials, asked, lambda _: self.jobs.check_room()), asked

    async def find(self, request: Request, credentials: Credentials, key: str, right: Right) -> Job | None:
        """Return the job of this key, None where there is none for whoever asks.

        Raises:
            BridgeError: The token is good for nothing here.
        """
        job = await self.jobs.find(DOOR, self.command.name, key)
        token_hash = credentials.token_hash
        if job is not None and job.owner.has_token(token_hash) and right in job.facts.get(RIGHTS, ()):
            return job
        grant = await self.launcher.authorize(credentials, self._build_request(request, frozenset({right}), ()))
        if job is None or not job.owner.is_same(Owner(token_hash, grant.principal)):
            return None
        return job

    async def list(self, request: Request, credentials: Credentials, after: str, limit: int) -> JobPage:
        """Return the jobs of whoever asks, the oldest first.

        Raises:
            BridgeError: The token is good for nothing here, and has started nothing (told for the first page).
        """
        owner, refusal = Owner(credentials.token_hash), None
        try:
            grant = await self.launcher.authorize(
                credentials, self._build_request(request, frozenset({Right.VIEW}), ())
            )
            owner = Owner(owner.token_hash, grant.principal)
        except GateError as exc:
            refusal = exc
        page = await self.jobs.list(DOOR, self.command.name, owner, after, limit)
        if refusal is not None and not page.jobs and not after:
            raise refusal
        return page

    def note_refusal(self, error: BridgeError, request: Request) -> None:
        """Count and log that somebody was refused."""
        self.launcher.note_refusal(error, LaunchRequest(DOOR, get_peer(request.scope)))

    def _build_request(self, request: Request, needs: frozenset[Right], args: tuple[str, ...]) -> LaunchRequest:
        command = self.command
        proposal = Proposal(command.command, (*command.args, *args), command.cwd, command.env)
        return LaunchRequest(DOOR, get_peer(request.scope), proposal=proposal, needs=needs, has_tty=False)
