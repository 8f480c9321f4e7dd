"""One line for each decision of the gate: when, at which door, who, from where, what was decided and why.

Law: names and codes only: no token, key, argument, input or environment value; of a command its name without the path.
"""

import logging
import posixpath

from ws_subprocess.errors import BridgeError
from ws_subprocess.model import Grant, LaunchRequest
from ws_subprocess.sessions.session import Session
from ws_subprocess.telemetry import AUDIT_LOGGER

log = logging.getLogger(AUDIT_LOGGER)


def note_granted(session: Session, request: LaunchRequest) -> None:
    """Write down that a command was started."""
    log.info(
        "session started",
        extra=_facts("granted", "", request, session.grant) | {"session": session.id, "pid": session.pid},
    )


def note_submitted(job: str, grant: Grant, request: LaunchRequest) -> None:
    """Write down that a command was accepted as a job, to be started when its turn comes."""
    log.info("job accepted", extra=_facts("granted", "", request, grant) | {"job": job})


def note_refused(error: BridgeError, request: LaunchRequest) -> None:
    """Write down that nothing was started; what an operator should mend is a warning."""
    level = logging.WARNING if error.fault.status >= 500 else logging.INFO
    facts = _facts("refused", error.reason, request, error.grant) | {"code": error.code, "detail": error.detail}
    log.log(level, "refused", extra=facts)


def note_abandoned(request: LaunchRequest, grant: Grant | None) -> None:
    """Write down that the client left before it was decided; with a grant, while its token was being used up."""
    log.info("client left undecided", extra=_facts("abandoned", "", request, grant))


def _facts(decision: str, reason: str, request: LaunchRequest, grant: Grant | None) -> dict[str, object]:
    return {
        "decision": decision,
        "reason": reason,
        "door": request.door,
        "principal": grant.principal if grant else "",
        "peer": request.peer,
        "command": posixpath.basename(grant.command) if grant else "",
    }
