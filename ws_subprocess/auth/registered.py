"""Grants what Python code has registered: the program around it decides who gets as far as asking.

Law: only the registered commands are granted, each with its own first arguments, without a terminal and as nobody's
principal; whatever else is proposed is refused.
"""

from collections.abc import Mapping

from ws_subprocess.auth.gate import EnvironmentRule
from ws_subprocess.auth.grants import ParsedGrant, parse_grant
from ws_subprocess.errors import GateError, GrantError, RequestError
from ws_subprocess.model import Credentials, LaunchRequest


class RegisteredCommands:
    """The authority for commands that were registered in code; the token is not looked at."""

    def __init__(self, is_env_refused: EnvironmentRule) -> None:
        self._is_env_refused = is_env_refused
        self._prefixes: dict[str, set[tuple[str, ...]]] = {}

    def add(self, command: str, args: tuple[str, ...]) -> None:
        """Let `command`, an absolute path, be started with `args` and any others after them."""
        self._prefixes.setdefault(command, set()).add(args)

    async def ask(self, credentials: Credentials, request: LaunchRequest) -> ParsedGrant | None:
        """Return the grant for a registered command.

        Raises:
            GateError: `denied`: it is not registered.
            RequestError: `bad_request`: its arguments cannot be used.
        """
        proposal = request.proposal
        if proposal is None or not self._is_registered(proposal.command, proposal.args):
            raise GateError("denied", "the command is not registered")
        fields: Mapping[str, object] = {
            "command": proposal.command,
            "args": list(proposal.args),
            "cwd": proposal.cwd,
            "env": dict(proposal.env),
            "tty": False,
        }
        try:
            return parse_grant(fields, self._is_env_refused)
        except GrantError as exc:
            raise RequestError("bad_request", exc.detail) from exc

    async def close(self) -> None:
        """Do nothing: it holds nothing."""

    def _is_registered(self, command: str, args: tuple[str, ...]) -> bool:
        return any(args[: len(prefix)] == prefix for prefix in self._prefixes.get(command, ()))
