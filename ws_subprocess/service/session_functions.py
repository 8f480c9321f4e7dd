"""The functions that the daemon itself offers: start sessions, and do with them what a terminal's websocket can.

Laws: the gate decides about every start; a session is its owner's, who shows the token that started it or one that the
gate gives the same principal; to all others it looks like one that does not exist.
"""

import base64
from typing import Any

from ws_subprocess.dialects.events import SIGNAL_NAMES
from ws_subprocess.dialects.native import name_signal
from ws_subprocess.dialects.outcomes import Fate, Outcome
from ws_subprocess.errors import BridgeError, RequestError
from ws_subprocess.model import DEFAULT_SIZE, SIZE_MAX, Credentials, Grant, LaunchRequest, Proposal, Right, Size
from ws_subprocess.service.fields import Fields
from ws_subprocess.service.functions import Caller, FunctionTable
from ws_subprocess.service.held_sessions import Held, HeldSessions
from ws_subprocess.service.job import Owner
from ws_subprocess.service.launch import Launcher
from ws_subprocess.sessions.replay import Gap

DOOR = "rpc"
WAIT_MAX_S = 60.0
OUTPUT_MAX_BYTES = 128 * 1024
OUTPUT_DEFAULT_BYTES = 64 * 1024
_OFFSET_MAX = 2**53 - 1


class SessionFunctions:
    """The functions over one door's sessions."""

    def __init__(self, launcher: Launcher, held: HeldSessions) -> None:
        self._launcher = launcher
        self._held = held

    def build_table(self) -> FunctionTable:
        """Return all of them by name."""
        table = FunctionTable()
        for function in (self.start, self.list, self.write, self.resize, self.signal, self.wait, self.output):
            table.add(function.__name__, function)
        return table

    async def start(self, data: Any, caller: Caller) -> Outcome:
        """Start what the gate grants: {command, args, cwd, env, rows, cols, tty}, all of which may be left out."""
        fields = Fields(data)
        has_tty = fields.flag("tty", default=True)
        request = LaunchRequest(DOOR, caller.peer, _read_size(fields), _read_proposal(fields), has_tty=has_tty)
        credentials = _take_credentials(caller)
        try:
            self._launcher.check_room(caller.peer)
            grant = await self._launcher.authorize(credentials, request, self._launcher.check_share)
            owner = Owner(credentials.token_hash, grant.principal)
            held = await self._held.start(grant, request, owner)
        except BridgeError as exc:
            self._launcher.note_refusal(exc, request)
            raise
        return _succeed(_describe(held))

    async def list(self, data: Any, caller: Caller) -> Outcome:
        """Name the sessions that this token started; with {principal: true} those of its principal: asks the gate."""
        fields, token_hash = Fields(data), _take_credentials(caller).token_hash
        principal = ""
        if fields.flag("principal", default=False):
            principal = (await self._ask(caller, Right.VIEW)).principal
        found = [held for held in self._held if held.owner.is_same(Owner(token_hash, principal))]
        return _succeed({"sessions": [_describe(held) for held in found]})

    async def write(self, data: Any, caller: Caller) -> Outcome:
        """Type: {session, text | base64, eof}. `written` is 0 while the command leaves too much of its input unread."""
        fields = Fields(data)
        typed, is_last = fields.data(), fields.flag("eof", default=False)
        held = await self._find(fields, caller, Right.WRITE)
        _require_running(held)
        if not held.has_input_room:
            return _succeed({"written": 0, "is_full": True})
        if typed:
            held.write(typed)
        if is_last:
            held.session.end_input()
        return _succeed({"written": len(typed), "is_full": not held.has_input_room})

    async def resize(self, data: Any, caller: Caller) -> Outcome:
        """Set the terminal's size: {session, rows, cols}."""
        fields = Fields(data)
        size = Size(fields.count("rows", 1, SIZE_MAX), fields.count("cols", 1, SIZE_MAX))
        held = await self._find(fields, caller, Right.VIEW)
        held.session.resize(size)
        return _succeed(_describe(held))

    async def signal(self, data: Any, caller: Caller) -> Outcome:
        """Signal the command: {session, signal}."""
        fields = Fields(data)
        name = fields.text("signal")
        if name not in SIGNAL_NAMES:
            raise RequestError("bad_signal", f"signal: not one of {', '.join(SIGNAL_NAMES)}")
        held = await self._find(fields, caller, Right.KILL if name == "KILL" else Right.SIGNAL)
        _require_running(held)
        if not held.session.signal(SIGNAL_NAMES[name]):
            raise RequestError("signal_denied", f"{name} was not sent: the command runs as another user")
        return _succeed(_describe(held))

    async def wait(self, data: Any, caller: Caller) -> Outcome:
        """Wait until nothing of a session is left, or the time is up: {session, timeout_s}."""
        fields = Fields(data)
        timeout_s = fields.seconds("timeout_s", WAIT_MAX_S, default=30.0)
        held = await self._find(fields, caller, Right.VIEW)
        async with caller.staying():
            await held.wait(held.session.finished.done, timeout_s)
        return _succeed(_describe(held))

    async def output(self, data: Any, caller: Caller) -> Outcome:
        """Return what follows an offset: {session, offset, limit, timeout_s}; waits for it as long as it is told to."""
        fields = Fields(data)
        offset = fields.count("offset", 0, _OFFSET_MAX, default=0)
        limit = fields.count("limit", 1, OUTPUT_MAX_BYTES, default=OUTPUT_DEFAULT_BYTES)
        timeout_s = fields.seconds("timeout_s", WAIT_MAX_S, default=0.0)
        held = await self._find(fields, caller, Right.VIEW)
        session = held.session
        if offset > session.ring.end:
            raise RequestError("bad_schema", f"offset: there are only {session.ring.end} bytes so far")
        async with caller.staying():
            await held.wait(lambda: session.ring.end > offset or not _is_going_on(held), timeout_s)
        return _succeed(_read_output(held, offset, limit))

    async def _find(self, fields: Fields, caller: Caller, needed: Right) -> Held:
        """Return a session that is the caller's to do this with.

        Raises:
            BridgeError: `not_found`, whether there is no such session or it is somebody else's; or what the gate says.
        """
        session_id, token_hash = fields.text("session"), _take_credentials(caller).token_hash
        held = self._held.find(session_id)
        if held is not None and held.owner.has_token(token_hash):
            if needed not in held.session.grant.rights:
                raise RequestError("right_missing", f"the grant's rights lack {needed}")
        else:
            # Before it is known whether there is one, so that the gate's answer does not depend on it.
            principal = (await self._ask(caller, needed)).principal
            held = self._held.find(session_id)
            if held is None or not held.owner.is_same(Owner(token_hash, principal)):
                raise RequestError("not_found", "session: there is none of this name for this token")
        held.note_asked()
        return held

    async def _ask(self, caller: Caller, needed: Right) -> Grant:
        """Ask the gate what another token than the session's own may do."""
        request = LaunchRequest(DOOR, caller.peer, needs=frozenset({needed}))
        try:
            # A batch knocks once, and may ask often.
            self._launcher.check_rate(caller.peer)
            return await self._launcher.authorize(_take_credentials(caller), request)
        except BridgeError as exc:
            self._launcher.note_refusal(exc, request)
            raise


def _read_proposal(fields: Fields) -> Proposal | None:
    if "command" not in fields:
        return None
    cwd = fields.text("cwd") if "cwd" in fields else None
    return Proposal(fields.text("command"), fields.texts("args"), cwd, fields.table("env"))


def _read_size(fields: Fields) -> Size | None:
    if "rows" not in fields and "cols" not in fields:
        return None
    rows, cols = (
        fields.count("rows", 1, SIZE_MAX, DEFAULT_SIZE.rows),
        fields.count("cols", 1, SIZE_MAX, DEFAULT_SIZE.cols),
    )
    return Size(rows, cols)


def _take_credentials(caller: Caller) -> Credentials:
    if caller.credentials is None:
        raise RequestError("unauthorized")
    return caller.credentials


def _is_going_on(held: Held) -> bool:
    return held.session.ended is None and not held.session.finished.done()


def _require_running(held: Held) -> None:
    if not held.session.is_running:
        raise RequestError("not_running", "the command has ended")


def _describe(held: Held) -> dict[str, Any]:
    """Return what an owner may know. Of what runs, only the title: the rest may be the granter's own business."""
    session = held.session
    ended = session.ended
    number = ended.status.signal if ended else None
    return {
        "session": session.id,
        "title": session.grant.title,
        "tty": session.grant.tty,
        "rows": session.size.rows,
        "cols": session.size.cols,
        "rights": sorted(session.grant.rights),
        "started_at": held.started_at,
        "running": _is_going_on(held),
        "output_start": session.ring.start,
        "output_end": session.ring.end,
        "exit_code": ended.status.code if ended else None,
        "signal": None if number is None else name_signal(number),
        "duration_s": round(ended.duration_s, 3) if ended else None,
        "reason": session.reason,
    }


def _read_output(held: Held, offset: int, limit: int) -> dict[str, Any]:
    ring, missing, chunks = held.session.ring, 0, []
    at, until = offset, offset + limit
    while at < until:
        found = ring.read(at, until - at)
        if found is None:
            break
        if isinstance(found, Gap):
            missing, at = found.missing, found.resume_offset
            until = at + limit
            continue
        chunks.append({"stream": found.stream, "base64": base64.b64encode(found.data).decode("ascii")})
        at += len(found.data)
    return {
        "offset": offset + missing,
        "missing": missing,
        "chunks": chunks,
        "next_offset": at,
        "ended": at == ring.end and not _is_going_on(held),
    }


def _succeed(data: dict[str, Any]) -> Outcome:
    return Outcome(Fate.DONE, data=data)
