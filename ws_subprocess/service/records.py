"""Jobs as rows, and back.

Law: no token, environment value or input is in a row; a job that needs one to begin is marked as `is_volatile`.
"""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ws_subprocess.model import Confinement, Grant, LaunchRequest, Right, SessionId, Size
from ws_subprocess.service.job import Job, JobId, JobSpec, JobState, Owner, Retention

Row = Mapping[str, Any]
# An environment is not written down.
_GRANT_FIELDS = tuple(field.name for field in fields(Grant) if field.name != "env")


def make_job(job_id: JobId, spec: JobSpec, now: float) -> Job:
    """Return the job that was just accepted."""
    return Job(
        id=job_id,
        door=spec.door,
        name=spec.name,
        key=spec.key or job_id,
        owner=spec.owner,
        state=JobState.PENDING,
        command=spec.grant.command,
        args=spec.grant.args,
        facts=spec.facts,
        retention=spec.retention,
        created_at=now,
    )


def make_row(job: Job, spec: JobSpec, request: LaunchRequest) -> Row:
    """Return the row of a job that was just accepted. Raises TypeError when its facts are no JSON."""
    plan = {
        "grant": _describe_grant(spec.grant),
        "lane": spec.lane,
        "priority": spec.priority,
        "timeout_s": spec.timeout_s,
        "takes_input": spec.takes_input,
        "folder": str(spec.folder) if spec.folder else None,
        "peer": request.peer,
        "is_volatile": bool(spec.stdin or spec.grant.env),
    }
    return {
        "id": job.id,
        "door": job.door,
        "name": job.name,
        "key": job.key,
        "token_hash": job.owner.token_hash,
        "principal": job.owner.principal,
        "command": job.command,
        "args": json.dumps(job.args),
        "retention": job.retention,
        "created_at": job.created_at,
        "ttl_s": spec.ttl_s,
        "plan": json.dumps(plan),
        **make_changes(job),
    }


def make_changes(job: Job) -> Row:
    """Return the columns that change in a job's life."""
    return {
        "state": str(job.state),
        "facts": json.dumps(dict(job.facts)),
        "started_at": job.started_at,
        "ended_at": job.ended_at,
        "error": job.error,
        "exit_code": job.exit_code,
        "signal": job.signal,
        "stdout_bytes": job.stdout_bytes,
        "stderr_bytes": job.stderr_bytes,
        "stdout_sha256": job.stdout_sha256,
        "stderr_sha256": job.stderr_sha256,
        "is_cut": job.is_cut,
        "session": job.session,
    }


def make_beginning(session: SessionId, now: float) -> Row:
    """Return the columns that say that a job begins, and the mark that its processes will have."""
    return {"state": str(JobState.WORKING), "session": session, "started_at": now}


def read_job(row: Row) -> Job:
    """Return the job of a row."""
    return Job(
        id=JobId(row["id"]),
        door=row["door"],
        name=row["name"],
        key=row["key"],
        owner=Owner(row["token_hash"], row["principal"]),
        state=JobState(row["state"]),
        command=row["command"],
        args=tuple(json.loads(row["args"])),
        facts=MappingProxyType(json.loads(row["facts"])),
        retention=Retention(row["retention"]),
        created_at=row["created_at"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        error=row["error"],
        exit_code=row["exit_code"],
        signal=row["signal"],
        stdout_bytes=row["stdout_bytes"],
        stderr_bytes=row["stderr_bytes"],
        stdout_sha256=row["stdout_sha256"],
        stderr_sha256=row["stderr_sha256"],
        is_cut=row["is_cut"],
        session=row["session"],
    )


def weigh(row: Row) -> int:
    """Return how large a row is in about, in bytes."""
    return len(row["args"]) + len(row["facts"]) + len(row["plan"])


def is_volatile(row: Row) -> bool:
    """Tell whether the job cannot begin any more, because part of it was held in memory only."""
    return bool(json.loads(row["plan"])["is_volatile"])


def read_spec(row: Row) -> tuple[JobSpec, LaunchRequest]:
    """Return what is to be done, as far as it was written down, and for whom."""
    job, plan = read_job(row), json.loads(row["plan"])
    spec = JobSpec(
        door=job.door,
        name=job.name,
        grant=_read_grant(plan["grant"]),
        owner=job.owner,
        key=job.key,
        lane=plan["lane"],
        priority=plan["priority"],
        timeout_s=plan["timeout_s"],
        ttl_s=row["ttl_s"],
        retention=job.retention,
        facts=job.facts,
        takes_input=plan["takes_input"],
        folder=Path(plan["folder"]) if plan["folder"] else None,
    )
    return spec, LaunchRequest(job.door, plan["peer"])


def _describe_grant(grant: Grant) -> dict[str, Any]:
    # Every job comes by here; dataclasses.asdict, which copies all it meets, takes four times as long.
    described = {name: getattr(grant, name) for name in _GRANT_FIELDS}
    nested = {"size": _describe(grant.size), "confinement": _describe(grant.confinement)}
    return described | nested | {"rights": sorted(grant.rights)}


def _describe(flat: Size | Confinement) -> dict[str, Any]:
    return {field.name: getattr(flat, field.name) for field in fields(flat)}


def _read_grant(described: dict[str, Any]) -> Grant:
    parts = {
        "args": tuple(described["args"]),
        "size": Size(**described["size"]),
        "rights": frozenset(map(Right, described["rights"])),
        "confinement": Confinement(**described["confinement"]),
    }
    return Grant(**described | parts)
