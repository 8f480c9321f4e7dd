"""Bodies with files (multipart/form-data, RFC 7578): files go to the disk as they come, fields stay in memory.

Laws: number, headers, names and fields of a body's parts are bounded, and so is the body; a file is stored under a name
of ours, readable for its owner alone; parsing and writing happen on another thread than the loop's.
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from ws_subprocess.doors.bodies import build_too_big, check_declared
from ws_subprocess.errors import BridgeError, RequestError

PARTS_MAX = 128
HEADERS_MAX = 8
HEADER_MAX_BYTES = 4096
NAME_MAX_CHARS = 255
BOUNDARY_MAX_CHARS = 70  # RFC 2046
_RETRY_AFTER_S = 5


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was sent, where it is, and the SHA-256 of its bytes."""

    path: Path
    digest: bytes


@dataclass(frozen=True, slots=True)
class Form:
    """The parts of a body by their names: those that had a file name, and the others."""

    files: dict[str, Upload]
    fields: dict[str, bytes]


async def read_form(request: Request, folder: Path, max_bytes: int, max_field_bytes: int, timeout_s: float) -> Form:
    """Return what the body of a request holds; its files are in `folder`, also when this fails.

    Args:
        max_bytes: Largest body.
        max_field_bytes: Of all fields together.
        timeout_s: From now to the body's last byte.

    Raises:
        RequestError: `bad_multipart`, `too_big`, `request_timeout`, `unsupported_encoding`.
        ClientDisconnect: The client left first.
        BridgeError: `no_space`: a file cannot be written.
    """
    check_declared(request.headers, max_bytes)
    parts = _Parts(_find_boundary(request.headers.getlist("content-type")), folder, max_field_bytes)
    count = 0
    try:
        async for chunk in _read_until(request, asyncio.get_running_loop().time() + timeout_s, timeout_s):
            count += len(chunk)
            if count > max_bytes:
                raise build_too_big(max_bytes)
            await asyncio.to_thread(parts.feed, chunk)
        return parts.finish()
    finally:
        # What a failed upload has in its buffer may not fit either, and nobody wants it.
        with contextlib.suppress(OSError):
            parts.close()


async def _read_until(request: Request, deadline_s: float, timeout_s: float) -> AsyncIterator[bytes]:
    stream = request.stream()
    with contextlib.suppress(StopAsyncIteration):
        while True:
            try:
                # Around the waiting alone: what is cut off must not be a thread that writes.
                async with asyncio.timeout_at(deadline_s):
                    chunk = await anext(stream)
            except TimeoutError as exc:
                raise RequestError("request_timeout", f"the body did not end within {timeout_s:g} s") from exc
            yield chunk


def _find_boundary(types: list[str]) -> bytes:
    _, options = parse_options_header(types[0] if len(types) == 1 else None)
    boundary = options.get(b"boundary", b"")
    if not 1 <= len(boundary) <= BOUNDARY_MAX_CHARS:
        raise RequestError("bad_multipart", f"Content-Type: no boundary of 1 to {BOUNDARY_MAX_CHARS} characters")
    return boundary


class _Parts:
    """Takes a body apart as it comes."""

    def __init__(self, boundary: bytes, folder: Path, max_field_bytes: int) -> None:
        self._folder = folder
        self._max_field_bytes = max_field_bytes
        self._field_bytes = 0
        self._count = 0
        self._is_ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header_name, self._header_value = bytearray(), bytearray()
        self._name = ""
        self._file: BinaryIO | None = None
        self._path = folder
        self._digest = hashlib.sha256()
        self._field = bytearray()
        self._form = Form({}, {})
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": lambda data, start, end: self._header_name.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._header_value.extend(data[start:end]),
                "on_header_end": self._end_header,
                "on_headers_finished": self._begin_content,
                "on_part_data": self._take_content,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
            max_header_count=HEADERS_MAX,
            max_header_size=HEADER_MAX_BYTES,
        )

    def feed(self, data: bytes) -> None:
        try:
            self._parser.write(data)
        except FormParserError as exc:
            raise RequestError("bad_multipart", "not multipart/form-data, or its headers are too many or long") from exc
        except OSError as exc:
            raise BridgeError("no_space", f"upload: {exc.strerror}", _RETRY_AFTER_S) from exc

    def finish(self) -> Form:
        if not self._is_ended:
            raise RequestError("bad_multipart", "ends before its last boundary")
        return self._form

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _begin_part(self) -> None:
        self._count += 1
        if self._count > PARTS_MAX:
            raise RequestError("bad_multipart", f"more than {PARTS_MAX} parts")
        self._headers = {}

    def _end_header(self) -> None:
        self._headers[bytes(self._header_name).lower()] = bytes(self._header_value)
        self._header_name.clear()
        self._header_value.clear()

    def _begin_content(self) -> None:
        kind, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = _decode_name(options.get(b"name", b""))
        if kind != b"form-data" or not 1 <= len(self._name) <= NAME_MAX_CHARS:
            raise RequestError("bad_multipart", f"a part without a name of 1 to {NAME_MAX_CHARS} characters")
        if self._name in self._form.files or self._name in self._form.fields:
            raise RequestError("bad_multipart", f"{self._name[:80]!a} stands twice; give each part its own name")
        self._field.clear()
        if b"filename" in options:
            self._digest = hashlib.sha256()
            self._path = self._folder / f"file-{len(self._form.files) + 1}"
            descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(descriptor, "wb")

    def _take_content(self, data: bytes, start: int, end: int) -> None:
        if self._file is not None:
            self._file.write(data[start:end])
            self._digest.update(data[start:end])
            return
        self._field_bytes += end - start
        if self._field_bytes > self._max_field_bytes:
            raise build_too_big(self._max_field_bytes)
        self._field += data[start:end]

    def _end_part(self) -> None:
        if self._file is None:
            self._form.fields[self._name] = bytes(self._field)
            return
        self.close()
        self._form.files[self._name] = Upload(self._path, self._digest.digest())

    def _end(self) -> None:
        self._is_ended = True


def _decode_name(data: bytes) -> str:
    # Browsers write `name` in the page's encoding, UTF-8; `parse_options_header` hands it on as Latin-1.
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as exc:
        raise RequestError("bad_multipart", "a name that is not UTF-8") from exc
