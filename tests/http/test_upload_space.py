"""Uploads that a disk has no room for."""

from pathlib import Path

import pytest
from disks import SIZE_BYTES, small_disk
from starlette.requests import Request

from ws_subprocess.doors.multipart import read_form
from ws_subprocess.errors import BridgeError

HEAD = b'--frontier\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\n'


# Where the file's own buffer is larger than a piece, it is what does not fit.
@pytest.mark.parametrize("piece_bytes", [4000, 64 * 1024])
async def test_a_file_larger_than_the_disk_is_told_as_want_of_space(tmp_path: Path, piece_bytes: int) -> None:
    pieces = iter([HEAD, *[b"x" * piece_bytes] * (SIZE_BYTES // piece_bytes + 100)])

    async def receive() -> dict[str, object]:
        piece = next(pieces, None)
        return {"type": "http.request", "body": piece or b"", "more_body": piece is not None}

    headers = [(b"content-type", b"multipart/form-data; boundary=frontier")]
    with small_disk(tmp_path / "disk") as disk, pytest.raises(BridgeError) as caught:
        await read_form(Request({"type": "http", "headers": headers}, receive), disk, 2**40, 1000, 60.0)

    assert (caught.value.code, caught.value.fault.status) == ("no_space", 507)
