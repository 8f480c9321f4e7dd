"""From a POST to a job of a named command.

Laws: a body that is not understood runs nothing; a key is taken before anything runs, so that a refused duplicate never
does; uploads are gone when no job was made of them.
"""

import asyncio
import hashlib
import os
import pwd
import stat
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from starlette.requests import Request

from ws_subprocess.address import group_address, is_local
from ws_subprocess.doors.bodies import (
    BodyLimits,
    get_media_type,
    is_json,
    parse_body,
    read_body,
    read_json,
    require_json,
)
from ws_subprocess.doors.command_access import DOOR, RIGHTS, Access
from ws_subprocess.doors.command_requests import (
    CommandRequest,
    find_file_names,
    parse_command_request,
    parse_idempotency_key,
)
from ws_subprocess.doors.handshake import get_peer
from ws_subprocess.doors.multipart import Form, Upload, read_form
from ws_subprocess.errors import CapacityError, RequestError
from ws_subprocess.model import Credentials, Grant, LaunchRequest
from ws_subprocess.service.callbacks import CALLBACK_URL, Callbacks
from ws_subprocess.service.job import Job, JobExistsError, JobSpec, Owner
from ws_subprocess.service.named_command import (
    KEY_CHARS,
    NamedCommand,
    derive_idempotent_key,
    derive_key,
    derive_own_key,
)
from ws_subprocess.service.reports import COMMAND, TIMEOUT

UPLOADS_MAX = 16
UPLOADS_PER_ADDRESS_MAX = 4
CONTEXT = "callback_context"
"""The fact that holds a request's `callback_context`."""
_FINGERPRINT = "fingerprint"
_RETRY_AFTER_S = 1


class UploadPlaces:
    """Places for those that send files, for all commands together.

    A client sends its files before the gate is asked, and nobody else counts their bytes meanwhile; so whoever has no
    token must not be able to take all places. Clients on this machine have no share: they may be a proxy's.
    """

    def __init__(self) -> None:
        self._count = 0
        self._by_address: Counter[str] = Counter()

    @contextmanager
    def hold(self, peer: str) -> Iterator[None]:
        """Hold a place for a client for as long as the block runs. Raises CapacityError (`queue_full`)."""
        address = "" if is_local(peer) else group_address(peer)
        if self._count >= UPLOADS_MAX or (address and self._by_address[address] >= UPLOADS_PER_ADDRESS_MAX):
            raise CapacityError("queue_full", f"{self._count} uploads are under way", _RETRY_AFTER_S)
        self._count += 1
        self._by_address[address] += 1
        try:
            yield
        finally:
            self._count -= 1
            self._by_address[address] -= 1
            if not self._by_address[address]:
                del self._by_address[address]


@dataclass(frozen=True, slots=True)
class CommandLimits:
    """What requests may send, with files and without, and how long results are kept where nothing else is said."""

    body: BodyLimits
    max_upload_bytes: int
    ttl_s: float
    uploads: UploadPlaces = field(default_factory=UploadPlaces)


class TakenError(Exception):
    """There is such a job already: `job`."""

    def __init__(self, job: Job) -> None:
        super().__init__(job.key)
        self.job = job


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What was asked for: `args` as they will be run, `digests` of the files that stand in them."""

    asked: CommandRequest
    args: tuple[str, ...]
    digests: tuple[bytes, ...] = ()
    folder: Path | None = None


def name_lane(command: NamedCommand) -> str:
    """Return the lane of a command's jobs."""
    return f"{DOOR}/{command.name}"


@dataclass(frozen=True, slots=True)
class Starts:
    """Makes jobs of one command.

    Args:
        callbacks: Calls clients back; None where that is not allowed.
        default_user: The account that commands run as whose grant names none, "" for ours.
    """

    access: Access
    limits: CommandLimits
    callbacks: Callbacks | None = None
    default_user: str = ""

    @property
    def command(self) -> NamedCommand:
        """The command."""
        return self.access.command

    async def start(self, request: Request, credentials: Credentials) -> Job:
        """Return the job that this request has made, or had made before (Idempotency-Key).

        Raises:
            TakenError: A job with the same key is there.
            BridgeError: No job can be made of it.
        """
        idempotency_key = parse_idempotency_key(request.headers.getlist("idempotency-key"))
        if get_media_type(request.headers) != "multipart/form-data":
            asked = parse_command_request(await self._read_fields(request))
            wanted = self._check(_Wanted(asked, asked.args))
            return await self._submit(request, credentials, wanted, idempotency_key)
        if not self.command.allow_files:
            raise RequestError("unsupported_media_type", "this command takes no files; send application/json")
        with self.limits.uploads.hold(get_peer(request.scope)):
            return await self._start_with_files(request, credentials, idempotency_key)

    async def _start_with_files(self, request: Request, credentials: Credentials, idempotency_key: str) -> Job:
        jobs = self.access.jobs
        jobs.check_space()
        folder = await jobs.make_folder()
        try:
            wanted = self._check(await self._read_files(request, folder))
            return await self._submit(request, credentials, wanted, idempotency_key)
        finally:
            # Unless a job has it now.
            await jobs.drop_folder(folder)

    async def _read_fields(self, request: Request) -> object:
        limits = self.limits.body
        if is_json(request.headers):
            return await read_json(request, limits)
        if await read_body(request, limits):
            # It was ignored once, and the bare command run.
            require_json(request.headers)
        return {}

    async def _read_files(self, request: Request, folder: Path) -> _Wanted:
        body = self.limits.body
        form = await read_form(request, folder, self.limits.max_upload_bytes, body.max_bytes, body.timeout_s)
        asked = parse_command_request(parse_body(form.fields.get("request_json", b"{}")))
        uploads = _find_uploads(form, asked.args)
        args = tuple(str(uploads[arg[1:]].path) if arg.startswith("@") else arg for arg in asked.args)
        return _Wanted(asked, args, tuple(upload.digest for upload in uploads.values()), folder)

    def _check(self, wanted: _Wanted) -> _Wanted:
        if wanted.args and not self.command.allow_args:
            raise RequestError("bad_schema", "args: this command takes none")
        return wanted

    async def _submit(self, request: Request, credentials: Credentials, wanted: _Wanted, idempotency_key: str) -> Job:
        has_input = bool(wanted.asked.stdin)
        grant, launch = await self.access.authorize_start(request, credentials, wanted.args, has_input=has_input)
        if wanted.asked.callback_url:
            # Not before: whom the gate refuses has no names looked up.
            await self._check_callback(wanted.asked.callback_url)
        if wanted.folder is not None:
            await asyncio.to_thread(_hand_over, wanted.folder, grant.confinement.user or self.default_user)
        spec = self._build_spec(wanted, grant, Owner(credentials.token_hash, grant.principal))
        if idempotency_key:
            key = derive_idempotent_key(idempotency_key, spec.owner.token_hash)
            return await self._submit_once(replace(spec, key=key), launch)
        return await self._submit_first_free(spec, launch, self._list_keys(wanted, spec.owner))

    async def _check_callback(self, url: str) -> None:
        if self.callbacks is None:
            raise RequestError("callback_denied", "callback_url: nobody is called back here: no [callbacks]")
        await self.callbacks.check(url)

    def _build_spec(self, wanted: _Wanted, grant: Grant, owner: Owner) -> JobSpec:
        command, asked = self.command, wanted.asked
        timeout_s = command.choose_timeout(asked.timeout_s)
        line = [*command.spelled, *asked.args]
        facts = {
            COMMAND: line,
            TIMEOUT: timeout_s,
            CONTEXT: dict(asked.context),
            RIGHTS: sorted(grant.rights),
            _FINGERPRINT: _fingerprint(wanted, timeout_s),
        }
        if asked.callback_url:
            facts[CALLBACK_URL] = asked.callback_url
        return JobSpec(
            door=DOOR,
            name=command.name,
            grant=grant,
            owner=owner,
            lane=name_lane(command),
            priority=command.priority + asked.priority,
            timeout_s=timeout_s,
            ttl_s=self.limits.ttl_s if command.ttl_s is None else command.ttl_s,
            retention=asked.retention or command.retention,
            facts=facts,
            stdin=asked.stdin,
            takes_input=asked.takes_input,
            folder=wanted.folder,
        )

    def _list_keys(self, wanted: _Wanted, owner: Owner) -> Iterator[str]:
        """Yield the keys that a job may have, the first one first."""
        if wanted.asked.has_own_key or wanted.folder is not None:
            # Files are never taken for the same, as ever.
            yield uuid.uuid4().hex[:KEY_CHARS]
            yield uuid.uuid4().hex
            return
        line = (*self.command.spelled, *wanted.asked.args)
        key = derive_key(line, wanted.asked.stdin)
        yield key
        yield derive_own_key(key, line, owner.principal.encode() or owner.token_hash)

    async def _submit_first_free(self, spec: JobSpec, launch: LaunchRequest, keys: Iterator[str]) -> Job:
        taken = None
        for key in keys:
            try:
                return await self.access.jobs.submit(replace(spec, key=key), launch)
            except JobExistsError as exc:
                taken = exc.job
            if taken.facts.get(COMMAND) == spec.facts[COMMAND] and taken.owner.is_same(spec.owner):
                raise TakenError(taken)
        assert taken is not None
        raise TakenError(taken)

    async def _submit_once(self, spec: JobSpec, launch: LaunchRequest) -> Job:
        try:
            return await self.access.jobs.submit(spec, launch)
        except JobExistsError as exc:
            job = exc.job
        if job.facts.get(_FINGERPRINT) != spec.facts[_FINGERPRINT]:
            raise RequestError("idempotency_conflict", "Idempotency-Key: was sent with another request before")
        return job


def _find_uploads(form: Form, args: tuple[str, ...]) -> dict[str, Upload]:
    names = find_file_names(args)
    for name in names:
        if name not in form.files:
            raise RequestError("bad_multipart", f"No File part with filename: {name[:80]} in request.")
    return {name: form.files[name] for name in names}


def _fingerprint(wanted: _Wanted, timeout_s: float) -> str:
    """Return what tells two requests apart; of input and files only what nobody can read them from."""
    asked = wanted.asked
    told = (asked.args, timeout_s, sorted(asked.context.items(), key=str), asked.takes_input, asked.callback_url)
    text = repr((told, asked.retention, asked.priority, asked.has_own_key)).encode("utf-8", "surrogatepass")
    files = b"".join(wanted.digests)
    stdin = b"" if asked.stdin is None else hashlib.sha256(asked.stdin).digest()
    return hashlib.sha256(hashlib.sha256(text).digest() + files + b"\0" + stdin).hexdigest()


def _hand_over(folder: Path, user: str) -> None:
    """Let the account that runs the command read its files; `state_dir` itself is the operator's to open for it."""
    if not user or os.geteuid() != 0:
        return
    try:
        entry = pwd.getpwnam(user)
    except KeyError:
        return  # The start will complain of it.
    for above in (folder.parent, folder.parent.parent):
        # To pass through, not to look around.
        above.chmod(stat.S_IMODE(above.stat().st_mode) | stat.S_IXGRP | stat.S_IXOTH)
    # The folder last: from then on its owner may put other files in their place.
    for path in (*folder.iterdir(), folder):
        os.chown(path, entry.pw_uid, entry.pw_gid, follow_symlinks=False)
