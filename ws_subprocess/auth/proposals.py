"""What a token may run at each door, where it says so itself: signed tokens and static ones. Pure but for links.

Laws: what the token says holds, and the client only fills in what it leaves open; at a door where the client proposes
nothing, the token names the command or nothing runs.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ws_subprocess.auth.grants import PATH_MAX_BYTES, ParsedGrant, parse_grant
from ws_subprocess.auth.policy import is_below
from ws_subprocess.errors import GateError, GrantError, RequestError
from ws_subprocess.model import LaunchRequest, Proposal

ALLOW_MAX = 100
# Stands for the command of a token that names none, so that its other keys can be checked.
ANY_COMMAND = "/"


@dataclass(frozen=True, slots=True)
class Allowed:
    """At `door` the client may propose `command`: that very path, or with a slash at its end all below it."""

    door: str
    command: str

    def allows(self, door: str, command: str) -> bool:
        """Tell whether a proposal of `command` at `door` is meant; follows links, so that none leads out."""
        if door != self.door or not command.startswith("/") or len(command) > PATH_MAX_BYTES:
            return False
        try:
            return is_below(command, self.command) if self.command.endswith("/") else command == self.command
        except ValueError:  # A NUL, or half a surrogate pair: no file has such a name.
            return False


def parse_allow(value: object) -> tuple[Allowed, ...]:
    """Return what the key `allow` lists: objects with exactly `door` and `command`.

    Raises:
        GrantError: `detail` names what is wrong.
    """
    if not isinstance(value, list) or len(value) > ALLOW_MAX:
        raise GrantError("controller_bad_schema", f"allow: not a list of at most {ALLOW_MAX} objects")
    return tuple(_parse_allowed(f"allow[{index}]", item) for index, item in enumerate(value))


def _parse_allowed(name: str, value: object) -> Allowed:
    match value:
        case {"door": str(door), "command": str(command), **rest} if door and not rest:
            pass
        case _:
            raise GrantError("controller_bad_schema", f'{name}: not {{"door": NAME, "command": PATH}} and nothing else')
    if not command.startswith("/") or "\0" in command or len(command) > PATH_MAX_BYTES:
        detail = f"{name}.command: not an absolute path of at most {PATH_MAX_BYTES} characters, DIR/ for all below it"
        raise GrantError("controller_bad_command", detail)
    return Allowed(door, command)


def build_grant(
    fields: Mapping[str, Any],
    allow: tuple[Allowed, ...],
    request: LaunchRequest,
    is_env_refused: Callable[[str], bool],
) -> ParsedGrant:
    """Return what a token grants at the door of `request`.

    Args:
        fields: The token's own grant keys (`auth.grants`); `command` may be missing.
        allow: What the client may propose. Where there is none, the token's own command runs, whatever is proposed.

    Raises:
        GrantError: `fields` are no valid grant.
        GateError: `denied`: the proposal is not allowed, or nobody names a command.
        RequestError: `bad_request`: the proposal is allowed, and cannot be used.
    """
    proposal = request.proposal
    if proposal is not None and allow:
        return _build_proposed(fields, allow, request.door, proposal, is_env_refused)
    if fields.get("command") is None and allow:
        detail = f"the token names no command, and at the door {request.door} nobody proposes one"
        raise GateError("denied", detail, reason="token_door")
    return parse_grant(fields, is_env_refused)


def _build_proposed(
    fields: Mapping[str, Any],
    allow: tuple[Allowed, ...],
    door: str,
    proposal: Proposal,
    is_env_refused: Callable[[str], bool],
) -> ParsedGrant:
    command = proposal.command
    # The token's own mistakes first: they are not the client's, and not to be told to it.
    parse_grant({**fields, "command": ANY_COMMAND}, is_env_refused)
    if not any(item.allows(door, command) for item in allow):
        detail = f"command {command[:200]!a} is not in the token's allow for the door {door}"
        raise GateError("denied", detail, reason="token_command")
    given = {key: value for key, value in fields.items() if value is not None}
    env = {**proposal.env, **given.pop("env", {})}
    merged = {"cwd": proposal.cwd, **given, "command": command, "args": list(proposal.args), "env": env}
    try:
        return parse_grant(merged, is_env_refused)
    except GrantError as exc:
        raise RequestError("bad_request", exc.detail) from exc
